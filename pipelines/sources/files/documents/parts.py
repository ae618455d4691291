"""Parts of files (segments of HL7, item groups of ODM): those that are asked for and those that there are.

A part that no file has ever had is most likely misspelt, and one that nobody names would be left out without a word:
both are told by the run.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from connectors.sources.file_formats import FileFormat
from connectors.sources.files import FilesSource

_SHOWN = 8
_LONGEST = 60
_WORDS = {FileFormat.HL7: "segment", FileFormat.ODM: "item group"}


class Parts:
    """What one run's reading of one part sees in the files. A file that is left alone counts for nothing."""

    def __init__(self) -> None:
        self.of_file: Counter[str] = Counter()
        """Of the file at hand: how often each part is there, by its name."""
        self.unread: Counter[str] = Counter()
        """Of the file at hand: how often there is what no part names, by the name of its elements."""
        self._all: Counter[str] = Counter()
        self._all_unread: Counter[str] = Counter()

    def begin(self) -> None:
        """The next file comes."""
        self.of_file.clear()
        self.unread.clear()

    def keep(self) -> None:
        """The file at hand is whole."""
        self._all += self.of_file
        self._all_unread += self.unread
        self.begin()

    def sentences(self, source: FilesSource, part: str | None, state: dict[str, Any]) -> Iterator[str]:
        """What people must know, when all files were read.

        Args:
            source: whose files they were.
            part: the one that was read.
            state: of the loads before; what was told once is not told again.
        """
        if source.format not in _WORDS or not (self._all or self._all_unread):
            return
        known = set(state.get("parts", ()))
        state["parts"] = sorted({*known, *self._all, *self._all_unread})
        word, asked = _WORDS[source.format], set(source.parts)
        if source.format is FileFormat.HL7:
            asked, part = {each.upper() for each in asked}, str(part).upper()
        left = {name: count for name, count in self._all.items() if name not in asked}
        if part not in known and not self._all[str(part)]:
            there = f"they have {_listed(left)}" if left else "look how it is written there"
            yield f"No file of {source.table} that was read has the {word} '{part}' of parts: {there}."
        if part != source.parts[0] and str(part) != source.parts[0].upper():
            # Each part's reading sees the whole file: one of them tells of the rest.
            return
        if new := {name: count for name, count in left.items() if name not in known}:
            yield f"Left out of {source.table}, for parts does not name them: {word}s {_listed(new, numbers=True)}."
        if new := {name: count for name, count in self._all_unread.items() if name not in known}:
            yield f"Not read of the files of {source.table}: {_listed(new, numbers=True)}."


def _listed(names: dict[str, int], *, numbers: bool = False) -> str:
    shown = [
        name[:_LONGEST] + (f" ({count:,})" if numbers else "")
        for name, count in sorted(names.items(), key=lambda item: (-item[1], item[0]))[:_SHOWN]
    ]
    more = [f"and {len(names) - _SHOWN} more"] if len(names) > _SHOWN else []
    return ", ".join([*shown, *more])
