"""Discovery of files: those that a run would read, by name and with their columns, and the sheets of workbooks."""

import contextlib
import time
from collections.abc import Iterator

from connectors.discovery import Column, Discovery, Item, ItemKind, may_identify
from connectors.sources.file_formats import ENDINGS, UNTOLD, WORKBOOKS
from connectors.sources.files import FilesSource
from pipelines.discovery.file_columns import columns_of
from pipelines.sources import Context
from pipelines.sources.files.faults import BrokenFileError
from pipelines.sources.files.finding import Choice, chosen, find
from pipelines.sources.files.stores import Found, Store
from pipelines.sources.files.workbooks import sheets_of

MOST = 200
"""Files that are shown: who has more sees that the pattern finds what is meant."""

OPENED = 10
"""Files that are opened to see their sheets and columns, the newest: each may take seconds."""

LOOKS_SECONDS = 15.0
"""The time after which no further one is opened: somebody waits for the answer."""


def discover(source: FilesSource, context: Context, cursor: str | None) -> Discovery:
    """The first files that fit, by name; of workbooks also the sheets, named `file/sheet`. Broken ones have no columns.

    Where nothing was said of names and formats, and no file is what a run would take for granted, those of the other
    formats are shown.
    """
    until = time.monotonic() + LOOKS_SECONDS
    items = [
        item
        for one in source.each()
        for each, store, choice in _found(one, context)
        for item in _items(each, context, store, choice, until)
    ]
    return Discovery(tuple(items[:MOST]))


def _found(source: FilesSource, context: Context) -> Iterator[tuple[FilesSource, Store, Choice]]:
    store, choice = find(source, context)
    yield source, store, choice
    if choice.there or store.only is not None or {"format", "glob"} & source.model_fields_set:
        return
    listed = list(store.listed("**"))
    for kind in ENDINGS.keys() - UNTOLD - {source.format}:
        other = source.model_copy(update={"format": kind})
        yield other, store, chosen(listed, other)


def _items(source: FilesSource, context: Context, store: Store, choice: Choice, until: float) -> Iterator[Item]:
    opened = {file.name for file in choice.files[-OPENED:]}
    for file in sorted(choice.files, key=lambda each: each.shown)[:MOST]:
        sheets: list[Item] = []
        columns: tuple[Column, ...] = ()
        # One that can't be read is shown by its name: a run says what is wrong with it.
        with contextlib.suppress(BrokenFileError, FileNotFoundError, PermissionError):
            if file.name not in opened or time.monotonic() > until:
                pass
            elif source.format in WORKBOOKS:
                sheets = list(_sheets(source, store, file))
            else:
                columns = columns_of(source, context, store, file)
        yield Item(file.shown, ItemKind.FILE, columns)
        yield from sheets


def _sheets(source: FilesSource, store: Store, file: Found) -> Iterator[Item]:
    with contextlib.ExitStack() as stack:
        for sheet, columns in sheets_of(lambda: stack.enter_context(store.open(file)), source):
            yield Item(
                f"{file.shown}/{sheet}",
                ItemKind.SHEET,
                tuple(Column(name, kind, identifying=may_identify(name)) for name, kind in columns.items()),
            )
