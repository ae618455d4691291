"""The REST API: `python -m api` serves it, one process, until SIGTERM."""

from api.app import serve
from api.sources.asking import discovered, reach
from logs import show_logs
from settings import Settings


def main() -> None:
    """Entry point."""
    from prefect_api.run_queries import open_runs  # noqa: PLC0415  # Prefect takes two seconds to import

    settings = Settings()
    show_logs(settings.log_format, also=("uvicorn",))
    serve(settings, open_runs, reach, discovered)


if __name__ == "__main__":
    main()
