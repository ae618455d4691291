"""The way into other systems: host keys."""
