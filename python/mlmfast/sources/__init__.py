"""Where data come from: files, databases, streams and clusters, read part by part.

`mlmfast.sources.open_source` says what can be read; no engine is imported that is not used.
"""
