"""A fit as JSON and back; what a pickled fit keeps."""
