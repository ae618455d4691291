"""Runs over HTTP: started, ended and listed, and what each has loaded."""
