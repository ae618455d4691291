"""The control plane: keeps Prefect's deployments equal to the table of connectors."""
