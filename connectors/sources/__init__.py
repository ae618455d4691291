"""The shapes of sources, a module a kind."""
