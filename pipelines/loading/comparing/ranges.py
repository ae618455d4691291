"""Ranges of a key by which the rows of both sides of a comparison are counted, so that one sees where they differ."""

from typing import Any

from connectors.comparisons import RANGES, KeyRange

SAMPLE = 10_000
"""Rows by which the ranges are chosen: each has about as many rows of the source as the others."""


def of_key(db: Any, name: str) -> tuple[KeyRange, ...]:
    """Count the rows of `source` and `standing`, and the keys in `differences`, by ranges of the key's first column.

    Args:
        db: a DuckDB with those views; without a table of that name nothing differs.
        name: the column.
    """
    column = f'"{name}"'
    sampled = f"(SELECT {column} AS k FROM {{}} USING SAMPLE reservoir({SAMPLE} ROWS) REPEATABLE (1))"  # noqa: S608
    parts = ", ".join(str(part / RANGES) for part in range(1, RANGES))
    borders = f"SELECT unnest(quantile_disc(k, [{parts}])) AS b FROM {sampled.format('source')} WHERE k IS NOT NULL"  # noqa: S608
    asked = f"SELECT DISTINCT b FROM ({borders}) WHERE b IS NOT NULL ORDER BY b"  # noqa: S608
    chosen = [border for (border,) in db.execute(asked).fetchall()]
    place = " + ".join(["0", *(f"({column} >= ?)::int" for _ in chosen)])
    temporary = "SELECT 1 FROM duckdb_tables() WHERE table_name = 'differences' AND database_name = 'temp'"
    there = db.execute(temporary).fetchall()
    counted: dict[str, dict[int, tuple[int, Any, Any]]] = {}
    for side in ("source", "standing", *(("differences",) if there else ())):
        found = db.execute(
            f"SELECT place, count(*), min(k), max(k) FROM (SELECT {place} AS place, {column} AS k FROM {side}) "  # noqa: S608
            "GROUP BY place",
            chosen,
        ).fetchall()
        counted[side] = {number: (rows, least, most) for number, rows, least, most in found if number is not None}
    source, standing, differ = (counted.get(side, {}) for side in ("source", "standing", "differences"))
    return tuple(
        KeyRange(
            str(min(found[number][1] for found in (source, standing) if number in found)),
            str(max(found[number][2] for found in (source, standing) if number in found)),
            *(found[number][0] if number in found else 0 for found in (source, standing, differ)),
        )
        for number in sorted({*source, *standing})
    )
