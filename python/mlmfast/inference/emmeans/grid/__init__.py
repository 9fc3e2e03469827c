"""What a reference grid holds beside all combinations: nested factors."""
