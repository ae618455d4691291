"""Text files as rows: CSV, lines of fixed width, and lines of JSON."""
