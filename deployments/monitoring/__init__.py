"""Monitoring: freshness, pages for operations, alerts, metrics, signs of life."""
