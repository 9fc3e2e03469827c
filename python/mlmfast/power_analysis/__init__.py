"""Power, sample size and smallest effects by simulation."""
