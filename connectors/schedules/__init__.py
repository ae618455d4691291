"""Schedules: cron texts, their dates, words and warnings, and connectors that start together. Pure."""
