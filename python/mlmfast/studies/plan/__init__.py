"""What a study is: conditions, methods, estimands, and the fingerprint of all of it."""
