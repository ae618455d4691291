"""What controllers need of the database for themselves: lease, requests, alerts, and which database it is."""
