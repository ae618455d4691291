"""Discovery of files: those that a run would read, by name, and of workbooks each sheet with its columns."""

import contextlib
from collections.abc import Iterator

from connectors.discovery import Column, Discovery, Item, ItemKind, may_identify
from connectors.sources.file_formats import WORKBOOKS
from connectors.sources.files import FilesSource
from pipelines.sources import Context
from pipelines.sources.files.faults import BrokenFileError
from pipelines.sources.files.finding import Choice, find
from pipelines.sources.files.stores import Store
from pipelines.sources.files.workbooks import sheets_of

MOST = 200
"""Files that are shown: who has more sees that the pattern finds what is meant."""

OPENED = 10
"""Workbooks that are opened to see their sheets, the newest: each may take seconds."""


def discover(source: FilesSource, context: Context, cursor: str | None) -> Discovery:
    """The first files that fit, by name; of workbooks the sheets of the newest, named `file/sheet`."""
    items: list[Item] = []
    for one in source.each():
        store, choice = find(one, context)
        if one.format in WORKBOOKS:
            items += _sheets(one, store, choice)
        else:
            items += (Item(name, ItemKind.FILE) for name in sorted(file.shown for file in choice.files)[:MOST])
    return Discovery(tuple(items[:MOST]))


def _sheets(source: FilesSource, store: Store, choice: Choice) -> Iterator[Item]:
    opened = {file.name for file in choice.files[-OPENED:]}
    for file in sorted(choice.files, key=lambda each: each.shown)[:MOST]:
        # One that is broken or not opened is shown by its name: a run says what is wrong with it.
        yield Item(file.shown, ItemKind.FILE)
        if file.name not in opened:
            continue
        with contextlib.suppress(BrokenFileError), contextlib.ExitStack() as stack:
            for sheet, columns in sheets_of(lambda file=file: stack.enter_context(store.open(file)), source):  # type: ignore[misc]
                yield Item(
                    f"{file.shown}/{sheet}",
                    ItemKind.SHEET,
                    tuple(Column(name, kind, identifying=may_identify(name)) for name, kind in columns.items()),
                )
