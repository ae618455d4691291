"""The data plane: one load of one connector, with dlt."""
