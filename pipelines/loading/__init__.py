"""One load with dlt: what it takes, how far it is, what it says of itself."""
