"""Linear functions of the fixed effects: estimable, tested, with intervals."""
