"""What a result says: arrays, errors, tests, predictions, profiles, its summary."""
