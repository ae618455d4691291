"""The files of a `files` source: which there are, in the order in which they came, and which are left alone.

A name says much about a file: half-written ones, copies of editors and locks have names of their own, and such a file
is never read, but told. Names are compared in capitals or not, for a system that writes `LABS.CSV` means the same.
"""

import fnmatch
import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

from dlt.common.configuration import resolve_configuration
from dlt.common.storages import FilesystemConfiguration, fsspec_from_config

from connectors.kinds import FilesSource
from pipelines.buckets import KNOWN_HOSTS, bucket_of, host_of
from pipelines.errors import ConfigurationError
from pipelines.sources import Context

_UNFINISHED = re.compile(
    r"\.(bak|backup|old|orig|part|partial|filepart|tmp|temp|crdownload|download|swp|swo|lock|lck|writing|uploading)$|~$",
    re.IGNORECASE,
)
"""Ends of names that programs give to what is being written, to copies and to locks."""

_ATOMIC = frozenset({"s3", "gs", "gcs", "az", "abfs", "abfss"})
"""Stores in which a file is there as a whole or not at all."""

_SHOWN = 3


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
    def shown(self) -> str:
        """The name as a sentence has it: names of other systems hold bytes that are no text."""
        return re.sub(r"[\x00-\x1f\x7f]", "?", os.fsencode(self.name).decode(errors="replace"))


@dataclass(frozen=True, slots=True)
class Choice:
    """What is read, and what is left alone: what a sentence says of it."""

    files: tuple[Found, ...] = ()
    """Oldest change first, then by name: the order in which their rows came to be."""
    remarks: tuple[str, ...] = ()


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
        for path, info in self.files.find(below + "/".join(plain), maxdepth=depth, detail=True).items():
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

    def open(self, file: Found) -> Any:
        """A file's bytes."""
        return Path(file.path).open("rb") if self.files is None else self.files.open(file.path, "rb")

    def _walk(self, start: Path, depth: int | None) -> Iterator[Found]:
        base = Path(self.root)
        for directory, below, names in os.walk(start):
            if depth is not None and len(Path(directory).relative_to(start).parts) >= depth - 1:
                below.clear()
            for name in names:
                path = Path(directory, name)
                # A link inside may lead outside.
                real = path.resolve()
                if any(real.is_relative_to(allowed) for allowed in self.roots) and real.is_file():
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


# --- which of them ----------------------------------------------------------------------------------------------------


def chosen(files: Iterable[Found], source: FilesSource, only: str | None = None) -> Choice:
    """The files to read, in order, and what to say of those that are left alone. Pure."""
    pattern = None if only is not None else source.glob
    ending = re.compile(rf"\.{source.format}([._-]?\d[\dT_.-]*)?(\.gz)?$", re.IGNORECASE)
    read, unfinished, others = [], [], []
    for file in files:
        last = PurePosixPath(file.name).name
        if only is not None:
            read += [file] if file.name == only else []
        elif not _matches(file.name, pattern) if pattern is not None else f".{source.format}" not in last.lower():
            continue
        elif _left_alone(file.name, pattern):
            unfinished.append(file)
        elif pattern is None and not ending.search(last):
            others.append(file)
        else:
            read.append(file)
    remarks = []
    if unfinished:
        remarks.append(
            f"{_count(unfinished)} left alone, for the names are those of unfinished, hidden or saved copies: "
            f"{_names(unfinished)}."
        )
    if others:
        remarks.append(
            f"{_count(others)} left alone, for the names end otherwise than .{source.format}: {_names(others)}; "
            "name them with glob if they belong to the table."
        )
    return Choice(tuple(sorted(read, key=lambda file: (file.changed, file.name))), tuple(remarks))


def _count(files: list[Found]) -> str:
    return "1 file was" if len(files) == 1 else f"{len(files)} files were"


def _names(files: list[Found]) -> str:
    more = [f"and {len(files) - _SHOWN} more"] if len(files) > _SHOWN else []
    return ", ".join([*sorted(file.shown for file in files)[:_SHOWN], *more])


def _left_alone(name: str, pattern: str | None) -> bool:
    """Whether a name is that of no whole file, and the pattern does not ask for such names itself."""
    parts = PurePosixPath(name).parts
    asked = PurePosixPath(pattern or "").parts
    hidden = any(part.startswith((".", "~$", "_temporary")) for part in parts)
    if hidden and not any(part.startswith((".", "~$", "_temporary")) for part in asked):
        return True
    end = _UNFINISHED.search(name)
    return end is not None and not (asked and asked[-1].lower().endswith(end.group().lower()))


def _matches(name: str, pattern: str) -> bool:
    """Whether a name is one of the pattern's: `*`, `?`, `[...]` within a part, `**` for any number of directories.

    A bracket is a set of letters, as patterns have it, and a bracket, as names have it: `labs [2024].csv` is a file.
    """
    parts, asked = PurePosixPath(name).parts, PurePosixPath(pattern).parts
    return _parts_match(tuple(map(str.casefold, parts)), tuple(map(str.casefold, asked)))


def _parts_match(parts: tuple[str, ...], asked: tuple[str, ...]) -> bool:
    if not asked:
        return not parts
    if asked[0] == "**":
        # At the end, `**` is any file below.
        rest = asked[1:] or ("*",)
        return any(_parts_match(parts[index:], rest) for index in range(len(parts)))
    if not parts or not (fnmatch.fnmatchcase(parts[0], asked[0]) or fnmatch.fnmatchcase(parts[0], _literal(asked[0]))):
        return False
    return _parts_match(parts[1:], asked[1:])


def _literal(pattern: str) -> str:
    """The pattern with its brackets meant as they stand."""
    return pattern.replace("[", "[[]")


# --- where they are ---------------------------------------------------------------------------------------------------


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
    return PurePosixPath(url).suffix.lower() in {".csv", ".jsonl", ".parquet", ".gz"}


def find(source: FilesSource, context: Context) -> tuple[Store, Choice]:
    """The store of a source, and the files in it to read.

    Raises:
        ConfigurationError: as `store_of`, and when the one file that is named is not there.
    """
    store = store_of(source, context)
    pattern = store.only or source.glob or "**"
    choice = chosen(store.listed(pattern), source, store.only)
    if store.only is not None and not choice.files:
        raise ConfigurationError(
            "source.url names a file that is not there: check the path, or name the directory that it comes to."
        )
    return store, choice
