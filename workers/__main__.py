"""Entry point of a warm worker: `python -m workers --pool default ...`, with the options of `prefect worker start`."""

import sys

from prefect.cli import app as prefect

from prefect_api.names import WARM_POOL_TYPE
from workers import warm  # noqa: F401  # Prefect knows a type of worker once it is imported


def main() -> None:
    """Start a worker of our type."""
    sys.argv = ["prefect", "worker", "start", "--type", WARM_POOL_TYPE, "--install-policy", "never", *sys.argv[1:]]
    prefect()


if __name__ == "__main__":
    main()
