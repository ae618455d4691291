"""Doors through which connectors are changed, for a test that changes them at random and kills what changes them."""
