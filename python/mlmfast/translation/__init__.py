"""Models written for other programs, as calls here: text is read and nothing in it is run."""
