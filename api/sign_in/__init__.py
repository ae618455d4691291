"""Sign-in by somebody else: an OpenID Connect provider, or a proxy that authenticates."""
