"""The user's data: columns by name, factors, files."""
