"""Sources over HTTP: a look at one, saved or not, in a process of its own."""
