"""The domain: connectors, their sources, destinations and schedules, and how they stand. Pure."""
