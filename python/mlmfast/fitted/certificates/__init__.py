"""What a fit can show for its claims: the optimum, the boundary, Monte Carlo errors."""
