"""Pictures of results that are no fit: intervals, profiles, deletions, resamples, matrices."""
