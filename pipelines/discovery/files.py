"""Discovery of files: those that a run would read, by name and size."""

from connectors.discovery import Discovery, Item, ItemKind
from connectors.sources.files import FilesSource
from pipelines.sources import Context
from pipelines.sources.files.finding import find

MOST = 200
"""Files that are shown: who has more sees that the pattern finds what is meant."""


def discover(source: FilesSource, context: Context, cursor: str | None) -> Discovery:
    """The first files that fit, by name."""
    _, choice = find(source, context)
    return Discovery(tuple(Item(name, ItemKind.FILE) for name in sorted(file.shown for file in choice.files)[:MOST]))
