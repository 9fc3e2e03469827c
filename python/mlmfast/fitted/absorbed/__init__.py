"""What a fit with an absorbed factor keeps and estimates."""
