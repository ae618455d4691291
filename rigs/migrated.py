"""Running the migrations as a user does: Alembic, with `CAI_DATABASE_URL`."""

import os
import subprocess
import sys

from settings import ROOT


def migrate(url: str, *arguments: str) -> None:
    """`alembic upgrade head`, or the given arguments, on the database at `url`."""
    subprocess.run(
        [sys.executable, "-m", "alembic", *(arguments or ("upgrade", "head"))],
        cwd=ROOT,
        env={**os.environ, "CAI_DATABASE_URL": url},
        check=True,
        capture_output=True,
        text=True,
    )
