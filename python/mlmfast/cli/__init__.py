"""The command line, and what it says while it works."""
