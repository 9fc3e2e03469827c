"""How numbers, tables and figures look; knows no fits."""
