"""The way into other systems: addresses, host keys, hosts that are denied, and redaction of secrets."""
