"""Protection: what of a source's rows may land, and in which form. Pure."""
