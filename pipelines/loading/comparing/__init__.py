"""Source and destination compared: the same rows read again, which keys are gone, which values differ."""
