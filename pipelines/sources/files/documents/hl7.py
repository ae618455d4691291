"""Messages of HL7 version 2, a table a segment: `PID-5.2` of the segment PID lands as `pid_5_2`.

Cut by hand and by no library: the format is separators within separators, which each file says itself, and the parsers
there are lose what they do not know (an escape of a sender's own) or write it into a log. hl7apy is what the tests
compare with. Source: HL7 Version 2.9, chapter 2.
"""

import io
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from connectors.sources.files import FileReading
from pipelines.sources.files.decoding import BLOCK_BYTES, Utf8, unpacked
from pipelines.sources.files.documents.parts import Parts
from pipelines.sources.files.documents.text_pages import TextRow, as_json, text_pages
from pipelines.sources.files.faults import BrokenFileError

_SEGMENT = re.compile(r"[A-Z][A-Z0-9]{2}")
_AROUND = "\r\n\x0b\x1c"
"""The ends of lines, and the marks around a message that was sent over a connection (MLLP)."""

_CHARACTER_SETS = {"ASCII": "ascii", "UTF-8": "utf-8", "UNICODE UTF-8": "utf-8"} | {
    f"8859/{part}": f"iso8859-{part}" for part in (*range(1, 12), *range(13, 17))
}
"""Python's names of the character sets of HL7's table 0211."""

_FOUND_OUT = frozenset({"ascii", "utf-8", "iso8859-1"})
"""Those that a file is read in rightly when nothing is said: UTF-8, else Windows-1252."""


@dataclass(frozen=True, slots=True)
class Separators:
    """What a message separates its parts by, as its header says (MSH-1 and MSH-2)."""

    field: str
    component: str
    repetition: str
    escape: str
    subcomponent: str

    @classmethod
    def of(cls, header: str, line: int) -> "Separators":
        """Those of a header (MSH, BHS or FHS).

        Raises:
            BrokenFileError: it says none.
        """
        said = header[4:].split(header[3:4], 1)[0] if len(header) > 3 else ""
        if len(said) < 2 or len({header[3], *said}) <= len(said):
            raise BrokenFileError(f"has a header in line {line} that names no separators, as in 'MSH|^~\\&|'")
        component, repetition, escape, subcomponent = tuple((said + "\0\0")[:4])
        return cls(header[3], component, repetition, escape, subcomponent)


@dataclass(slots=True)
class Message:
    """A message: its segments as they are written, the header first."""

    number: int
    """Its place in the file, from 1."""
    separators: Separators
    segments: list[str]


def segment_tables(
    reopen: Callable[[], Any], source: FileReading, part: str, parts: Parts | None = None
) -> Iterator[pa.Table]:
    """The segments of one kind in a file of messages, in the order of the file.

    Args:
        reopen: opens the file at its beginning.
        source: how it is read.
        part: the kind of segment, such as `PID`.
        parts: takes note of all kinds that there are.

    Raises:
        BrokenFileError: it is no file of messages, is cut, or holds other messages than it says.
    """
    text = Utf8(unpacked(reopen()), source.encoding)
    seen = (parts or Parts()).of_file
    yield from text_pages(
        row
        for message in _counted(messages(text, source.encoding), seen)
        for row in rows_of(message, part.upper(), source.encoding)
    )


def _counted(found: Iterator[Message], seen: Counter[str]) -> Iterator[Message]:
    for message in found:
        seen.update(segment[:3] for segment in message.segments)
        yield message


def messages(text: io.RawIOBase, encoding: str | None = None) -> Iterator[Message]:
    """The messages of a file in UTF-8, one at a time.

    Args:
        text: the file, in UTF-8.
        encoding: what the connector says that it was written in; None: found out.

    Raises:
        BrokenFileError: for a line that is no segment, and where counts do not agree.
    """
    message: Message | None = None
    number = in_batch = batches = before = 0
    opened: list[str] = []
    for line, segment in _lines(text):
        name = segment[:3]
        if not _SEGMENT.fullmatch(name) or (message is not None and segment[3:4] not in {"", message.separators.field}):
            raise BrokenFileError(
                f"has no segment in line {line}: a line break within a field is written as '\\.br\\'; correct the line"
            )
        if name in {"MSH", "FHS", "BHS", "BTS", "FTS"}:
            if message is not None:
                yield message
                message = None
            if name == "MSH":
                number, in_batch = number + 1, in_batch + 1
                message = Message(number, Separators.of(segment, line), [segment])
                _check_characters(message, encoding)
            elif name in {"FHS", "BHS"}:
                opened.append(name)
                in_batch = 0
                batches, before = (batches + 1, before) if name == "BHS" else (0, number)
            else:
                _close(opened, segment, line, in_batch if name == "BTS" else (batches, number - before))
        elif message is None:
            raise BrokenFileError(f"has a segment in line {line} that belongs to no message: messages begin with MSH")
        else:
            message.segments.append(segment)
    if message is not None:
        yield message
    if opened:
        raise BrokenFileError(f"is cut: its {opened[-1]} has no end; bring it again")


def _lines(text: io.RawIOBase) -> Iterator[tuple[int, str]]:
    """The lines of a file that are not empty, with their numbers, however their ends are written."""
    for number, line in enumerate(io.TextIOWrapper(io.BufferedReader(text, BLOCK_BYTES), "utf-8"), start=1):
        if segment := line.strip(_AROUND):
            yield number, segment


def _close(opened: list[str], segment: str, line: int, came: int | tuple[int, int]) -> None:
    """Take note of the end of a batch or file, and compare what it says with what came.

    `came`: the messages of a batch; of a file its batches, and its messages, which senders count there instead.
    """
    begin = {"BTS": "BHS", "FTS": "FHS"}[segment[:3]]
    if not opened or opened.pop() != begin:
        raise BrokenFileError(f"has in line {line} the end of what has not begun: {segment[:3]} without {begin}")
    said = segment[4:].split(segment[3:4] or "|", 1)[0].strip()
    if not said.isdigit():
        return
    if isinstance(came, int):
        if int(said) != came:
            raise BrokenFileError(f"says in line {line} that the batch has {said} messages, and it has {came}")
    elif int(said) not in came:
        raise BrokenFileError(
            f"says in line {line} that the file has {said} batches, and it has {came[0]}, of {came[1]} messages"
        )


def _check_characters(message: Message, encoding: str | None) -> None:
    """Refuse to guess where a message says what it is written in.

    Raises:
        BrokenFileError: it says another character set than the file is read in.
    """
    if encoding is not None:
        return
    said = _field(message.segments[0], 17, message.separators).split(message.separators.repetition)[0].upper()
    if not said or (known := _CHARACTER_SETS.get(said)) in _FOUND_OUT:
        return
    if known is None:
        raise BrokenFileError("names a character set in MSH-18 that is not known here: set encoding")
    raise BrokenFileError(f"says in MSH-18 that it is written in {known}: set encoding to '{known}'")


def _field(segment: str, place: int, separators: Separators) -> str:
    fields = segment.split(separators.field)
    return fields[place] if place < len(fields) else ""


def rows_of(message: Message, part: str, encoding: str | None = None) -> Iterator[TextRow]:
    """The rows of a message's segments of one kind."""
    header, separators = message.segments[0], message.separators
    about: TextRow = {
        "message_id": unescaped(_field(header, 9, separators), separators, encoding) or None,
        "message_type": _field(header, 8, separators) or None,
        "message_time": _field(header, 6, separators) or None,
        "message_number": str(message.number),
    }
    order: str | None = None
    for position, segment in enumerate(message.segments, start=1):
        if segment[:3] == part:
            yield {
                **about,
                "position": str(position),
                "obr_position": order,
                **dict(_values(segment, separators, encoding)),
            }
        if segment[:3] == "OBR":
            order = str(position)


def _values(segment: str, separators: Separators, encoding: str | None) -> Iterator[tuple[str, str]]:
    """The values of a segment by the names of their columns. Of a field that is repeated, all stand in `..._all`."""
    name = segment[:3].lower()
    fields = segment.split(separators.field)[1:]
    if segment[:3] == "MSH":
        # The separator is the first field itself, and the second one holds the others as they are.
        yield "msh_1", separators.field
        yield "msh_2", fields[0]
        fields = ["", "", *fields[1:]]
    for number, field in enumerate(fields, start=1):
        if not field:
            continue
        column = f"{name}_{number}"
        repetitions = [_parts(each, separators, encoding) for each in field.split(separators.repetition)]
        for suffix, value in repetitions[0].items():
            yield column + suffix, value
        if len(repetitions) > 1:
            yield (
                f"{column}_all",
                as_json([{_number(key): value for key, value in each.items()} for each in repetitions]),
            )


def _parts(field: str, separators: Separators, encoding: str | None) -> dict[str, str]:
    """The values of one repetition. The first component and sub-component of each have no number of their own."""
    found = {}
    for component, text in enumerate(field.split(separators.component), start=1):
        for part, value in enumerate(text.split(separators.subcomponent), start=1):
            if value:
                suffix = "" if component == part == 1 else f"_{component}" if part == 1 else f"_{component}_{part}"
                found[suffix] = unescaped(value, separators, encoding)
    return found


def _number(suffix: str) -> str:
    return suffix[1:].replace("_", ".") or "1"


def unescaped(value: str, separators: Separators, encoding: str | None = None) -> str:
    """A value without escapes: separators, line breaks (`\\.br\\`) and bytes (`\\X0D\\`). Others stand as they are."""
    escape = separators.escape
    if escape == "\0" or escape not in value:
        return value
    known = {
        "F": separators.field, "S": separators.component, "T": separators.subcomponent, "R": separators.repetition,
        "E": escape, ".br": "\n",
    }  # fmt: skip

    def meant(found: re.Match[str]) -> str:
        said = found.group(1)
        if said in known:
            return known[said]
        if re.fullmatch("X([0-9A-Fa-f]{2})+", said):
            try:
                return bytes.fromhex(said[1:]).decode(encoding or "utf-8")
            except UnicodeDecodeError:
                pass
        return found.group()

    mark = re.escape(escape)
    return re.sub(f"{mark}([^{mark}]*){mark}", meant, value)
