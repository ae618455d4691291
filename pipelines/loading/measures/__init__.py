"""Measures of a load: rows read, rejected and repeated, rows in the destination, and the history made of them."""
