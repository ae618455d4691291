"""The whole platform on a laptop: embedded PostgreSQL, Prefect, worker, controller, API and a demo."""
