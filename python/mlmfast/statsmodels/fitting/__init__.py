"""Fitting: free, with parameters held, penalised; the estimates."""
