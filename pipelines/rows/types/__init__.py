"""Types of columns: as sources give them, as connectors declare them, and as load files have them."""
