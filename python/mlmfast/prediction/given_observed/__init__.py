"""Expected values of rows given responses observed on the same subject or cluster."""
