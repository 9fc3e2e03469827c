"""The curves of smooth terms: estimates, bands, effective degrees of freedom, tests."""
