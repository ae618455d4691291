"""The version of the code on this disk: what tells that a fork server holds an older one."""

import hashlib
import sysconfig
from collections.abc import Iterator
from pathlib import Path

PACKAGES = ("flows", "api", "use_cases", "database", "prefect_api", "connectors", "deployments", "pipelines", "workers")


def code_version(root: Path, packages: tuple[str, ...] = PACKAGES) -> str:
    """A hash over the names, sizes and times of our files below `root`, and of what is installed.

    It takes some milliseconds. Installing a package, or another version of one, renames something in its directory.
    """
    digest = hashlib.sha256()
    for path in sorted(_sources(root, packages)):
        try:
            found = path.stat()
        except FileNotFoundError:
            continue  # it goes just now: the next look shows it
        digest.update(f"{path}\0{found.st_mtime_ns}\0{found.st_size}\0".encode())
    digest.update(str(Path(sysconfig.get_path("purelib")).stat().st_mtime_ns).encode())
    return digest.hexdigest()


def _sources(root: Path, packages: tuple[str, ...]) -> Iterator[Path]:
    if packages == PACKAGES:
        yield from root.glob("*.py")
    for package in packages:
        yield from (root / package).rglob("*.py")
