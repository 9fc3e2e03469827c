"""How rows are coded: levels and what transforms remember, found once, the same for every part."""
