"""The forms in the Prefect UI: their shapes and the pages that they show."""
