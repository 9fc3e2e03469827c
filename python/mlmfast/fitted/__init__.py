"""What a fit is: its record, estimates, random effects and certificate."""
