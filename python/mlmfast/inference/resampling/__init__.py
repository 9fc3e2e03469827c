"""Bootstraps: responses or clusters drawn anew, refitted in batches."""
