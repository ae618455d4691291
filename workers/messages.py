"""Messages between a worker and its fork server, one a packet of a socket pair (SOCK_SEQPACKET).

What a run is told (its environment, and with it every secret) is an *order*: a memory file whose descriptor the packet
carries. The fork server hands it on and never reads it, so no secret of one run is in the memory that the next one is
forked from.
"""

import json
import os
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

LARGEST_PACKET = 4096


@dataclass(frozen=True, slots=True)
class Order:
    """What one run is told."""

    flow_run: Mapping[str, Any]
    """The flow run as Prefect's API gives it."""
    entrypoint: str
    environment: Mapping[str, str]
    directory: str
    memory_bytes: int | None = None
    """Most memory that its process may take beyond what it is forked with; None for no limit."""
    related: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Id, name and tags of what events about the run name too, by kind and key: `flow.<id>`, `work-pool.<name>`."""


class Event(StrEnum):
    """What a fork server tells of."""

    READY = "ready"
    FORKED = "forked"
    REFUSED = "refused"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Said:
    """What a fork server says."""

    kind: Event
    number: int = 0
    """Of the order that is answered: the first one is 1."""
    pid: int = 0
    exit_code: int = 0
    """As `subprocess` counts: below 0 for the signal that ended the process."""
    why: str = ""


def written(order: Order) -> int:
    """A memory file that holds the order: its descriptor, which the caller closes."""
    descriptor = os.memfd_create("order", os.MFD_CLOEXEC)
    try:
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            file.write(json.dumps(asdict(order)).encode())
        os.lseek(descriptor, 0, os.SEEK_SET)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def read(descriptor: int) -> Order:
    """The order in a memory file, which is closed."""
    with os.fdopen(descriptor, "rb") as file:
        return Order(**json.loads(file.read()))


def say(channel: socket.socket, said: Said, descriptors: tuple[int, ...] = ()) -> None:
    """Send a packet of the fork server's."""
    socket.send_fds(channel, [json.dumps(asdict(said)).encode()], list(descriptors))


def hear(channel: socket.socket) -> tuple[Said, list[int]] | None:
    """The next packet of the fork server's, with its descriptors; None when there will be no more.

    Raises:
        BlockingIOError: there is none yet.
    """
    packet, descriptors, _, _ = socket.recv_fds(channel, LARGEST_PACKET, 1)
    if not packet:
        return None
    said = json.loads(packet)
    return Said(**said | {"kind": Event(said["kind"])}), descriptors


def open_sockets() -> list[str]:
    """What of this process's open files is a socket."""
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = str(entry.readlink())
        except FileNotFoundError:
            continue  # the listing's own
        if target.startswith("socket:"):
            found.append(target)
    return found
