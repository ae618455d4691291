"""Schedules: cron texts, their dates and words, and connectors that start together."""
