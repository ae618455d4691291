"""The chart rendered, and a node that runs it."""
