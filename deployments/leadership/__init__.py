"""Leadership: one controller leads, the others stand by."""
