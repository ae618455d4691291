"""Connectors as documents over HTTP: YAML or JSON, out and in."""
