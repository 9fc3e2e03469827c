"""Rows that stay in parts where they are: what the likelihood needs of them comes back as sums."""
