"""What makes the site of docs/: examples run, mathematics, the reference, links checked."""
