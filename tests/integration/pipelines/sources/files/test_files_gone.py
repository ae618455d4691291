"""Rows whose files are gone, or came anew without them: removed or marked, and never on the word of a bad listing."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from connectors.sources.files import FilesSource
from pipelines.errors import RunError
from tests.support.data_plane.platform import Platform

Sql = Callable[[str], list[tuple[Any, ...]]]
POSTGRES = {"type": "postgres", "credentials": {"env": "CAI_SECRET_WAREHOUSE"}}
DESTINATIONS = ("duckdb", "postgres")
FILES, ROWS = 10, 4


def put(inbox: Path, number: int, rows: int = ROWS, note: str = "n", at: int = 1_700_000_000) -> None:
    """A file of so many rows that changed at a moment."""
    path = inbox / f"day{number}.csv"
    path.write_text("id,note\n" + "".join(f"{number * 100 + row},{note}\n" for row in range(rows)))
    os.utime(path, (at, at))


def add(platform: Platform, inbox: Path, destination: str, deletes: str, **more: Any) -> int:
    source = {"type": "files", "url": str(inbox), "format": "csv", "table": "labs", "origin": True, "deletes": deletes}
    return platform.add({**source, **more}, destination=POSTGRES if destination == "postgres" else None)


def standing(ask: Sql, connector: int, where: str = "TRUE") -> list[int]:
    """The keys that stand in the table."""
    return [int(key) for (key,) in ask(f"SELECT id FROM connector_{connector}.labs WHERE {where} ORDER BY id")]


def of(*numbers: int, rows: int = ROWS) -> list[int]:
    """The keys of these files."""
    return [number * 100 + row for number in numbers for row in range(rows)]


@pytest.mark.parametrize("destination", DESTINATIONS)
@pytest.mark.parametrize("key", [{}, {"primary_key": "id"}], ids=["appended", "merged"])
def test_rows_go_with_their_file_and_come_again_with_it(
    platform: Platform, inbox: Path, warehouse: Sql, destination: str, key: dict[str, Any]
) -> None:
    ask = warehouse if destination == "postgres" else platform.duck
    for number in range(FILES):
        put(inbox, number)
    removing, marking = (add(platform, inbox, destination, how, **key) for how in ("remove", "mark"))
    for connector in (removing, marking):
        platform.run(connector)
    marked, live = "_deleted_at IS NOT NULL", "_deleted_at IS NULL"
    # One is gone, one comes anew with fewer rows, one with other rows, and one without any.
    (inbox / "day1.csv").unlink()
    put(inbox, 2, rows=3, at=1_700_000_100)
    put(inbox, 3, note="other", at=1_700_000_100)
    put(inbox, 4, rows=0, at=1_700_000_100)
    left = [*of(0), *of(2, rows=3), *of(3, *range(5, FILES))]
    for connector in (removing, marking):
        summary = platform.run(connector)
        assert "are gone at the source" not in summary.sentence
    assert standing(ask, removing) == left
    assert standing(ask, marking, live) == left
    assert {*of(1, 4), 203} <= set(standing(ask, marking, marked))
    assert ask(f"SELECT DISTINCT note FROM connector_{removing}.labs WHERE _file = 'day3.csv'") == [("other",)]
    # The file that was gone comes again, as it was and with its old date.
    put(inbox, 1)
    for connector in (removing, marking):
        platform.run(connector)
    back = sorted([*left, *of(1)])
    assert standing(ask, removing) == back
    assert standing(ask, marking, live) == back


@pytest.mark.parametrize("destination", DESTINATIONS)
def test_an_empty_listing_and_half_of_one_delete_nothing_until_somebody_allows_it(
    platform: Platform, inbox: Path, warehouse: Sql, destination: str
) -> None:
    ask = warehouse if destination == "postgres" else platform.duck
    for number in range(FILES):
        put(inbox, number)
    connector = add(platform, inbox, destination, "remove")
    platform.run(connector)
    everything = of(*range(FILES))
    away = inbox.parent / "away"
    for gone in (5, FILES):
        inbox.rename(away)
        inbox.mkdir()
        for number in range(gone, FILES):
            put(inbox, number)
        said = platform.run(connector).sentence
        assert f"{gone * ROWS} of {FILES * ROWS} rows of table 'labs' are gone at the source" in said
        assert standing(ask, connector) == everything
        for path in inbox.iterdir():
            path.unlink()
        inbox.rmdir()
        away.rename(inbox)
        platform.run(connector)  # all are there again, and read again where they had been forgotten
        assert standing(ask, connector) == everything
    inbox.chmod(0o000)
    try:
        if not os.access(inbox, os.R_OK):  # root reads everything
            with pytest.raises(RunError):
                platform.run(connector)
    finally:
        inbox.chmod(0o755)
    assert standing(ask, connector) == everything
    for number in range(5):
        (inbox / f"day{number}.csv").unlink()
    platform.run(connector, allow_mass_delete=True)
    assert standing(ask, connector) == of(*range(5, FILES))


def test_rows_that_came_before_their_files_were_noted_stay(platform: Platform, inbox: Path) -> None:
    for number in range(FILES):
        put(inbox, number)
    connector = add(platform, inbox, "duckdb", "ignore", origin=False)
    platform.run(connector)
    put(inbox, 20)
    with platform.connection.cursor() as cursor:
        cursor.execute(
            'UPDATE cai_connectors SET source = source || \'{"origin": true, "deletes": "remove"}\' WHERE id = %s',
            [connector],
        )
    platform.run(connector)
    (inbox / "day1.csv").unlink()
    (inbox / "day20.csv").unlink()
    platform.run(connector)
    assert standing(platform.duck, connector) == of(*range(FILES))


def test_masked_names_are_compared_as_they_landed(platform: Platform, inbox: Path) -> None:
    for number in range(FILES):
        put(inbox, number)
    where = {"where": [{"path": "note", "op": "!=", "value": "no consent"}]}
    connector = add(platform, inbox, "duckdb", "remove", mask=["_file"], protect=where)
    platform.run(connector)
    (inbox / "day1.csv").unlink()
    # Of one that comes anew no row may leave any more, so that it has none either.
    put(inbox, 2, note="no consent", at=1_700_000_100)
    platform.run(connector)
    assert standing(platform.duck, connector) == of(0, *range(3, FILES))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"origin": False}, "set origin to true"),
        ({"write_disposition": "replace"}, "mean nothing for a table that is replaced"),
        ({"deletes": "ignore", "deletes_every": "0 3 * * 0"}, "needs deletes"),
    ],
)
def test_deletes_without_what_they_need_are_refused(more: dict[str, Any], said: str) -> None:
    source = {"type": "files", "url": "/data", "format": "csv", "table": "labs", "origin": True, "deletes": "remove"}
    with pytest.raises(ValidationError, match=said):
        FilesSource.model_validate({**source, **more})
