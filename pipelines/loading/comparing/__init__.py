"""Source and destination compared, and what stood there before: keys that are gone, values that differ, versions."""
