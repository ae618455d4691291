"""The REST API from the command line.

`python -m api` serves it, one process, until SIGTERM. `python -m api apply FILE` brings a file to a served one.
"""

import sys

from api.exchange.command import apply
from logs import show_logs
from settings import LogFormat, Settings


def main() -> int:
    """Entry point; the exit status."""
    if sys.argv[1:2] == ["apply"]:
        return apply(sys.argv[2:])
    if sys.argv[1:]:
        print(f"{sys.argv[1]} is no command: `apply`, or none to serve the API.", file=sys.stderr)
        return 2
    from api.app import serve  # noqa: PLC0415  # a file is applied without what serving needs
    from api.sources.asking import looks_of  # noqa: PLC0415
    from prefect_api.run_queries import open_runs  # noqa: PLC0415  # Prefect takes two seconds to import

    settings = Settings()
    show_logs(as_json=settings.log_format is LogFormat.JSON, also=("uvicorn",))
    looks = looks_of(settings)
    serve(settings, open_runs, looks.reach, looks.discovered)
    return 0


if __name__ == "__main__":
    sys.exit(main())
