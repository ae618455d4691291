"""Rows that say who may do what: tokens, credentials, sessions."""
