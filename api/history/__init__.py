"""History over HTTP: its routes and their bodies."""
