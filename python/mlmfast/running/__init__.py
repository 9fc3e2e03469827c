"""How a call runs: memory that is left, Ctrl-C, imports on first use, values computed once."""
