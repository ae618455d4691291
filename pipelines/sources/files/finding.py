"""The files of a `files` source: which are read, in the order in which they came, and which are left alone.

A name says much about a file: half-written ones, copies of editors and locks have names of their own, and such a file
is never read, but told. Names are compared in capitals or not, for a system that writes `LABS.CSV` means the same.
"""

import fnmatch
import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from connectors.sources.file_formats import ENDINGS, PACKED
from connectors.sources.files import FilesSource
from pipelines.errors import ConfigurationError
from pipelines.sources import Context
from pipelines.sources.files.encrypted import Decrypting
from pipelines.sources.files.stores import Found, Store, store_of

_UNFINISHED = re.compile(
    r"\.(bak|backup|old|orig|part|partial|filepart|tmp|temp|crdownload|download|swp|swo|lock|lck|writing|uploading)$|~$",
    re.IGNORECASE,
)
"""Ends of names that programs give to what is being written, to copies and to locks."""

_PACKED_ALONE = re.compile(r"[^.]+\.(zip|gz|bz2|zst)", re.IGNORECASE)
"""Names that don't say what is packed in them."""

OF_THE_SYSTEM = "lost+found"
"""A directory of file systems themselves, which nobody else may read."""

_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Choice:
    """The files that are read, and sentences about those that are left alone."""

    files: tuple[Found, ...] = ()
    """Oldest change first, then by name: the order in which their rows came to be."""
    remarks: tuple[str, ...] = ()
    waiting: tuple[Found, ...] = ()
    """Files that are not read, for their markers are not there, or are older."""

    @property
    def there(self) -> tuple[Found, ...]:
        """The files of the table, whether or not they are read."""
        return (*self.files, *self.waiting)


def chosen(files: Iterable[Found], source: FilesSource, only: str | None = None) -> Choice:
    """The files to read, in order, those that wait, and what to say of those that are left alone. Pure."""
    if source.marker is None:
        return _by_name(files, source, only)
    files, marks = _unmarked(files, source)
    found = _by_name(files, source, only)
    whole = {file.name for file in found.files if marks.get(file.name, -1.0) >= file.changed}
    return replace(
        found,
        files=tuple(file for file in found.files if file.name in whole),
        waiting=tuple(file for file in found.files if file.name not in whole),
    )


def _by_name(files: Iterable[Found], source: FilesSource, only: str | None) -> Choice:
    """The files to read by their names alone."""
    pattern = None if only is not None else source.glob
    named = "|".join(ENDINGS[source.format])
    ending = re.compile(rf"\.({named})([._-]?\d[\dT_.-]*)?{PACKED}", re.IGNORECASE)
    locked = re.compile(rf"\.({named})\b.*\.(pgp|gpg|asc)$|\.(pgp|gpg)$", re.IGNORECASE)
    read, unfinished, others, encrypted = [], [], [], []
    for file in files:
        last = PurePosixPath(file.name).name
        if only is not None:
            asked = file.name == only
        elif pattern is not None:
            asked = _matches(file.name, pattern)
        else:
            asked = re.search(rf"\.({named})", last.lower()) is not None or _PACKED_ALONE.fullmatch(last) is not None
        if not asked:
            continue
        if source.pgp_key is None and locked.search(last):
            encrypted.append(file)
        elif only is None and _left_alone(file.name, pattern):
            unfinished.append(file)
        elif only is None and pattern is None and not ending.search(last):
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
            f"{_count(others)} left alone, for the names end otherwise than .{ENDINGS[source.format][0]}: "
            f"{_names(others)}; "
            "name them with glob if they belong to the table."
        )
    if encrypted:
        remarks.append(
            f"{_count(encrypted)} left alone, for the names are those of files encrypted by PGP: {_names(encrypted)}; "
            "name the key that opens them as pgp_key."
        )
    return Choice(tuple(sorted(read, key=lambda file: (file.changed, file.name))), tuple(remarks))


def _unmarked(files: Iterable[Found], source: FilesSource) -> tuple[list[Found], dict[str, float]]:
    """The files that are no markers, and when the marker of each changed, by the file's name."""
    listed = {file.name: file for file in files}
    markers = {name: marker_of(name, source) for name in listed}
    marks = {name: listed[marker].changed for name, marker in markers.items() if marker in listed}
    used = {markers[name] for name in marks}
    return [file for name, file in listed.items() if name not in used], marks


def marker_of(name: str, source: FilesSource) -> str:
    """The name of the file that says that another is whole."""
    path = PurePosixPath(name)
    said = str(source.marker).replace("{name}", path.name).replace("{stem}", path.name.lstrip(".").partition(".")[0])
    return str(path.with_name(said))


def waiting_sentence(files: Sequence[Found], source: FilesSource) -> str:
    """That files wait for their markers."""
    shown = [f"{file.shown} ({marker_of(file.shown, source)})" for file in files[:_SHOWN]]
    more = [f"and {len(files) - _SHOWN} more"] if len(files) > _SHOWN else []
    count = "1 file waits for its marker" if len(files) == 1 else f"{len(files)} files wait for their markers"
    return f"{count}: {', '.join([*shown, *more])}"


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


def find(source: FilesSource, context: Context) -> tuple[Store, Choice]:
    """The store of a source, and the files in it to read.

    Raises:
        ConfigurationError: as `store_of`, and when the one file that is named is not there.
    """
    store = replace(store_of(source, context), decrypt=Decrypting.of(source, context))
    pattern = store.only or source.glob or "**"
    listed = store.listed(pattern)
    if source.marker is not None and store.only is not None:
        # Beside a file that the address names, nothing else may have been listed.
        listed = itertools.chain(listed, filter(None, [store.named(marker_of(store.only, source))]))
    choice = chosen(listed, source, store.only)
    if "." in store.denied:
        raise ConfigurationError("source.url names a directory that the worker may not read: give it the right to.")
    if denied := sorted(set(store.denied) - {OF_THE_SYSTEM}):
        sentence = f"The worker may not look into {', '.join(denied[:_SHOWN])}{' and more' * (len(denied) > _SHOWN)}, "
        choice = replace(choice, remarks=(*choice.remarks, sentence + "so what is there is not read."))
    if store.only is not None and not choice.files and choice.remarks:
        raise ConfigurationError(" ".join(choice.remarks))
    if store.only is not None and not choice.files and not choice.waiting:
        raise ConfigurationError(
            "source.url names a file that is not there: check the path, or name the directory that it comes to."
        )
    return store, choice
