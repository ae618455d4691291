"""The page, on a real database."""
