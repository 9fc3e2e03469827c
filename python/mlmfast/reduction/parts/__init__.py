"""A design whose rows stay in parts, elsewhere: what the likelihood needs of them is summed."""
