"""Stores of files: a directory of this machine, a bucket, or a server that speaks SFTP.

Each lists its files, opens one, and looks at one again. What can't be listed is an error or is told: an empty answer
would be taken for an empty directory.
"""

import contextlib
import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

from dlt.common.configuration import resolve_configuration
from dlt.common.storages import FilesystemConfiguration, fsspec_from_config

from connectors.sources.file_formats import ENDINGS
from connectors.sources.files import FilesSource
from pipelines.access.buckets import KNOWN_HOSTS, bucket_of, host_of
from pipelines.errors import ConfigurationError
from pipelines.sources import Context

_SUFFIXES = {
    ".gz",
    ".bz2",
    ".zst",
    ".zip",
    ".pgp",
    ".gpg",
    ".asc",
    *(f".{ending}" for endings in ENDINGS.values() for ending in endings),
}
"""Ends of an address that names a file."""

_ATOMIC = frozenset({"s3", "gs", "gcs", "az", "abfs", "abfss"})
"""Stores in which a file is there as a whole or not at all."""


@dataclass(frozen=True, slots=True)
class Found:
    """One file: where it is, its name below the source's url, and a mark that changes when its content does."""

    path: str
    name: str
    mark: str
    changed: float = 0.0
    """When it changed, in seconds since 1970; 0 where its store does not say."""
    version: str = ""
    """Differs between two looks when the file does; unlike the mark, the same in a list and asked for by itself."""

    @property
    def known_by(self) -> str:
        """What its name is in the state."""
        return hashlib.blake2b(self.name.encode("utf-8", "surrogateescape"), digest_size=9).hexdigest()

    @property
    def shown(self) -> str:
        """The name as a sentence has it: names of other systems hold bytes that are no text."""
        return re.sub(r"[\x00-\x1f\x7f]", "?", os.fsencode(self.name).decode(errors="replace"))


@dataclass(frozen=True, slots=True)
class Store:
    """A directory or bucket: lists its files, opens one and looks at one again."""

    root: str
    files: Any = None
    """The file system, or None for this machine's own."""
    roots: tuple[Path, ...] = field(default=())
    """Of this machine, the directories that connectors may read."""
    only: str | None = None
    """The one file that the address names, if it names one."""
    denied: list[str] = field(default_factory=list)
    """Directories below that the worker may not read, once the files have been listed."""
    decrypt: Callable[[str, Any], Any] | None = None
    """Of a store of encrypted files: what opens one, given a mark of it and its bytes."""

    @property
    def atomic(self) -> bool:
        """Whether a file here is never seen half written."""
        protocol = getattr(self.files, "protocol", ())
        return bool(_ATOMIC & {protocol} if isinstance(protocol, str) else _ATOMIC & set(protocol))

    def listed(self, pattern: str) -> Iterator[Found]:
        """The files below, in any order; those that the pattern's first directories can't hold may be left out."""
        parts = PurePosixPath(pattern).parts
        plain = [part for part, _ in zip(parts[:-1], _until_magic(parts), strict=False)]
        depth = None if "**" in pattern else len(parts) - len(plain)
        if self.files is None:
            yield from self._walk(Path(self.root, *plain), depth)
            return
        if self.only is not None:
            path = f"{self.root.rstrip('/')}/{self.only}"
            if (info := _info(self.files, path)).get("type") == "file":
                yield _found(path, self.only, info)
            return
        below = self.root.rstrip("/") + "/"
        start = below + "/".join(plain)
        if depth is None and self.atomic:
            found = iter(self.files.find(start, detail=True).items())
        else:
            # fsspec's own walk takes whatever fails for an empty directory.
            found = self._entries(start.rstrip("/"), depth)
        for path, info in found:
            if info.get("type") == "file" and path.startswith(below):
                yield _found(path, path.removeprefix(below), info)

    def again(self, file: Found) -> Found | None:
        """The same file as it is now; None when it is gone."""
        try:
            if self.files is None:
                return _local(Path(file.path), file.name)
            self.files.invalidate_cache()
            return _found(file.path, file.name, self.files.info(file.path))
        except FileNotFoundError:
            return None

    def named(self, name: str) -> Found | None:
        """The file of this name; None when there is none."""
        return self.again(Found(f"{self.root.rstrip('/')}/{name}", name, ""))

    def open(self, file: Found) -> Any:
        """A file's bytes; of an encrypted one, those that were encrypted."""
        if self.decrypt is None:
            return self._opened(file)
        with self._opened(file) as raw:
            return self.decrypt(f"{file.path}\n{file.version}", raw)

    def _opened(self, file: Found) -> Any:
        return Path(file.path).open("rb") if self.files is None else self.files.open(file.path, "rb")

    def _entries(self, path: str, depth: int | None) -> Iterator[tuple[str, dict[str, Any]]]:
        """The files of a store below a path, one directory after the other."""
        try:
            entries = self.files.ls(path, detail=True)
        except FileNotFoundError:
            return
        except PermissionError:
            if self.atomic or path == self.root.rstrip("/"):
                raise
            self.denied.append(path.removeprefix(self.root).strip("/"))
            return
        for info in entries:
            name = str(info["name"]).rstrip("/")
            if info.get("type") != "directory":
                yield name, info
            elif name != path and depth != 1:
                yield from self._entries(name, None if depth is None else depth - 1)

    def _walk(self, start: Path, depth: int | None) -> Iterator[Found]:
        base = Path(self.root)

        def denied(error: OSError) -> None:
            if not isinstance(error, FileNotFoundError):
                self.denied.append(os.path.relpath(error.filename, base))

        # Links to directories are followed as far as a pattern names them, not to any depth.
        for directory, below, names in os.walk(start, onerror=denied, followlinks=depth is not None):
            if depth is not None and len(Path(directory).relative_to(start).parts) >= depth - 1:
                below.clear()
            for name in names:
                path = Path(directory, name)
                # A link inside may lead outside.
                real = path.resolve()
                if any(real.is_relative_to(allowed) for allowed in self.roots) and real.is_file():
                    with contextlib.suppress(FileNotFoundError):  # gone meanwhile
                        yield _local(real, str(path.relative_to(base)))


def _until_magic(parts: Iterable[str]) -> Iterator[str]:
    for part in parts:
        if any(sign in part for sign in "*?["):
            return
        yield part


def _local(path: Path, name: str) -> Found:
    status = path.stat()
    return _found(str(path), name, {"mtime": status.st_mtime_ns, "size": status.st_size}, status.st_mtime)


def _found(path: str, name: str, info: dict[str, Any], changed: float | None = None) -> Found:
    moment = _changed(info) if changed is None else changed
    tag = str(info.get("ETag") or info.get("etag") or "").strip('"')
    return Found(path, name, _mark(info), moment, f"{tag or info.get('mtime') or moment}-{info.get('size')}")


def _mark(info: dict[str, Any]) -> str:
    # Stands in the state of loads before: another formula would bring every file again.
    changed = next(
        (info[key] for key in ("ETag", "etag", "mtime", "LastModified", "last_modified") if info.get(key)), ""
    )
    return hashlib.blake2b(f"{changed}-{info.get('size')}".encode(), digest_size=9).hexdigest()


def _changed(info: dict[str, Any]) -> float:
    for key in ("mtime", "LastModified", "last_modified", "updated"):
        match info.get(key):
            case datetime() as moment:
                return moment.timestamp()
            case int() | float() as seconds:
                return float(seconds)
            case str() as text:
                try:
                    return datetime.fromisoformat(text).timestamp()
                except ValueError:
                    continue
    return 0.0


def store_of(source: FilesSource, context: Context) -> Store:
    """Where the files of a source are.

    Raises:
        ConfigurationError: when it may not be read, or is not there.
    """
    scheme, separator, rest = source.url.partition("://")
    if not separator or scheme == "file":
        return _local_store(Path(rest if separator else source.url), context)
    value = None if source.credentials is None else context.secrets.resolve(source.credentials)
    url = source.url.rstrip("/")
    only = None
    if source.glob is None and _names_a_file(url):
        url, _, only = url.rpartition("/")
    bucket = bucket_of(
        url, value, "source.credentials", host_key=source.host_key, known_hosts=context.data_dir / KNOWN_HOSTS
    )
    context.denied.check(*host_of(bucket))
    given = {"bucket_url": bucket.url, "credentials": bucket.credentials, "kwargs": bucket.options or None}
    explicit = {key: item for key, item in given.items() if item is not None}
    config = resolve_configuration(FilesystemConfiguration(bucket_url=bucket.url), explicit_value=explicit)
    files, base = fsspec_from_config(config)
    store = Store(str(base), files, only=only)
    path = f"{store.root.rstrip('/')}/{only}"
    if only is not None and _info(files, path).get("type") == "directory":
        # A directory called `labs.csv`, as Spark writes them.
        return Store(path, files)
    if only is None and bucket.url.startswith("sftp:") and not _info(files, store.root):
        # In the other stores a directory begins with its first file.
        raise ConfigurationError("source.url names a directory that is not there: check the path.")
    return store


def _info(files: Any, path: str) -> dict[str, Any]:
    """What a file system says of a path; nothing when nothing is there."""
    try:
        return dict(files.info(path))
    except FileNotFoundError:
        # Only this: `isfile` and `isdir` also take a network that is down for a no.
        return {}


def _local_store(path: Path, context: Context) -> Store:
    roots = tuple(allowed.resolve() for allowed in context.local_file_roots)
    real = path.resolve()
    if not any(real.is_relative_to(allowed) for allowed in roots):
        raise ConfigurationError(
            "source.url is not below a directory that this installation opens to connectors: "
            "ask operations to add it to CAI_LOCAL_FILE_ROOTS, or move the files."
        )
    if real.is_dir():
        return Store(str(real), roots=roots)
    if real.is_file() or _names_a_file(path.name):
        # Its own name, where it is a link: what was read is known by it.
        return Store(str(path.parent.resolve()), roots=roots, only=path.name)
    raise ConfigurationError("source.url is no directory on this worker: check the path.")


def _names_a_file(url: str) -> bool:
    return PurePosixPath(url).suffix.lower() in _SUFFIXES
