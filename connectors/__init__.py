"""What users ask for: connectors, their schedules, their table, and the use cases over it."""
