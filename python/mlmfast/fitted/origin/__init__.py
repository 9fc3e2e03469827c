"""What a fit was made from, and how."""
