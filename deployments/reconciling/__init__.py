"""Reconciling: one cycle, and everything that becomes of its actions."""
