"""Columns of the destination: known, widened, and rows fitted to them."""
