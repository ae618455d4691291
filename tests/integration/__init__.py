"""Parts of the platform on a real PostgreSQL, a real Prefect server and real HTTP."""
