"""One fit for each of many data sets."""
