"""Tables of the controllers' own: lease, requests, alerts, and which database it is."""
