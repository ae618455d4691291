"""Planning: desired against observed. Pure."""
