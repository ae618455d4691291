"""The shapes of destinations, the places that they name, and tables that several connectors write."""
