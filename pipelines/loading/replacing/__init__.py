"""Tables whose rows are exchanged as a whole: full refreshes."""
