"""The long versions."""
