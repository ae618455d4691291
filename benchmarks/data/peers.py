"""Other tools that copy a table, installed into environments of their own and never into this project's.

Both are programs that their packages bring ready made. What they need for DuckDB they fetch from elsewhere at their
first run, so they are compared where both ends are PostgreSQL.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from settings import ROOT

HOME = ROOT / ".local" / "bench-peers"


@dataclass(frozen=True, slots=True)
class Command:
    """How a program is called."""

    arguments: list[str]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Program:
    """An installed program."""

    path: Path
    version: str


@dataclass(frozen=True, slots=True)
class Peer:
    """Another tool: what pip installs, where its program is then, and how it loads the table `measurement`."""

    name: str
    package: str
    requirement: str
    program: str
    command: Callable[[Path, str, str], Command]


def _sling(program: Path, source: str, warehouse: str) -> Command:
    arguments = ["run", "--src-conn", "CLINIC", "--src-stream", "public.measurement", "--tgt-conn", "WAREHOUSE"]
    return Command(
        [str(program), *arguments, "--tgt-object", "public.sling_measurement", "--mode", "full-refresh"],
        {
            "CLINIC": f"{source}?sslmode=disable",
            "WAREHOUSE": f"{warehouse}?sslmode=disable",
            "SLING_DISABLE_TELEMETRY": "true",
            "HOME": str(HOME),
        },
    )


def _ingestr(program: Path, source: str, warehouse: str) -> Command:
    arguments = ["ingest", "--source-uri", source, "--source-table", "public.measurement", "--dest-uri", warehouse]
    return Command(
        [str(program), *arguments, "--dest-table", "ingestr.measurement", "--yes", "--progress", "log"],
        {"DISABLE_TELEMETRY": "true", "INGESTR_DISABLE_TELEMETRY": "true", "HOME": str(HOME)},
    )


PEERS = (
    Peer(
        "sling",
        "sling-linux-amd64",
        "sling-linux-amd64",
        f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages/sling_linux_amd64/bin/sling-linux-amd64",
        _sling,
    ),
    Peer("ingestr", "ingestr", "ingestr<1", "bin/ingestr", _ingestr),
)


def installed(peer: Peer) -> Program | str:
    """The peer's program, installed when it isn't yet; a sentence when it can't be had here."""
    home = HOME / peer.name
    python = home / "bin" / "python"
    try:
        if not python.exists():
            _run([sys.executable, "-m", "venv", str(home)])
        _run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", peer.requirement])
        version = _run([str(python), "-c", f"from importlib.metadata import version; print(version({peer.package!r}))"])
    except subprocess.CalledProcessError:
        return f"{peer.name} can't be installed here: pip finds no {peer.requirement}."
    program = home / peer.program
    # Some packages lose the mark of a program on their way.
    program.chmod(program.stat().st_mode | 0o100)
    return Program(program, version.strip())


def _run(command: list[str]) -> str:
    return subprocess.run(command, env=os.environ, capture_output=True, text=True, check=True).stdout
