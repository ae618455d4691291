"""Files that are there and give no row, so that what they gave before is gone: replaced by an empty one, or by one of
which no row may leave. Where rows go with their files, such a file is as good as gone.

Which these are is kept in the state that dlt stores with the rows, for such a file is not read again. If the process
dies before the rows are gone, or the guard keeps them, the next run knows it as well.
"""

from typing import Any

from connectors.sources.deletes import Deletes
from connectors.sources.files import FilesSource
from pipelines.sources import Context
from pipelines.sources.files.finding import Choice

_STATE = "without_rows"


class Emptied:
    """The files of one table without rows, by what they are known by. `state`: the resource's."""

    def __init__(self, state: dict[str, Any]) -> None:
        self._state = state
        self._keys: set[str] = set(state.get(_STATE, ()))

    def note(self, key: str, rows: int) -> None:
        """A file was read to its end, and so many of its rows land."""
        self._keys.discard(key)
        if not rows:
            self._keys.add(key)

    def leave_out(self, context: Context, source: FilesSource, part: str | None, choice: Choice) -> None:
        """Leave them out of the names by which the rows stay of a table, or of that of a part of the files."""
        if source.deletes is Deletes.IGNORE:
            return
        if self._keys:
            self._state[_STATE] = sorted(self._keys)
        else:
            self._state.pop(_STATE, None)
        names = {file.shown for file in choice.there if file.known_by in self._keys}
        for table, one in source.tables_of_parts().items():
            if one == part and table in context.listed:
                context.listed[table] -= names
