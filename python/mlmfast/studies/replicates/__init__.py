"""One chunk of replicates: data drawn, methods applied, rows made."""
