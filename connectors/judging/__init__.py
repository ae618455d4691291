"""Judgement of how a connector stands, for people: in one piece, and why it is not running."""
