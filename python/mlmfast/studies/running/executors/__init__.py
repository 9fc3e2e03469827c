"""Engines that run chunks: a file each, a generator of (chunk, content) as they come."""
