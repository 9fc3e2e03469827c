"""Many fits of one design as arrays."""
