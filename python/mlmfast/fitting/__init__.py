"""From starting values to the lowest minimum, singular ends included."""
