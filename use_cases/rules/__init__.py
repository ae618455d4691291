"""Rules that many connectors go by, each kept once: limits of sources."""
