"""Entry point of a warm worker: `python -m workers --pool default ...`, with the options of `prefect worker start`."""

import sys

from prefect.cli import app as prefect

from workers.warm import POOL_TYPE


def main() -> None:
    """Start a worker of our type: Prefect knows it once it is imported, installed or not."""
    sys.argv = ["prefect", "worker", "start", "--type", POOL_TYPE, "--install-policy", "never", *sys.argv[1:]]
    prefect()


if __name__ == "__main__":
    main()
