"""Protection of values that must not land as they are."""
