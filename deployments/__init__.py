"""What Prefect must hold, and how it gets there."""
