"""Installation and operational qualification on the user's machine."""
