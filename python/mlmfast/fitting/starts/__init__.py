"""Where the iteration starts: from moments, as given, of several kinds."""
