"""Steps of PROC MIXED: statements, effects, options, and what they are here."""
