"""What one run does, with dlt."""
