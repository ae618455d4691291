"""A back end as a process of its own: runs each transaction that it is sent, and says how it ended.

A line of JSON is one transaction: its statements, with their values or with the rows of a COPY. `python -m
tests.support.doors.sql_writer ADDRESS` is killed while it works.
"""

import io
import json
import sys
from typing import Any

import psycopg2  # type: ignore[import-untyped]

NAME = "a-back-end"
"""Its `application_name`."""


def main() -> None:
    """Serve until the input ends."""
    connection = psycopg2.connect(sys.argv[1], application_name=NAME)
    print("ready", flush=True)
    for line in sys.stdin:
        try:
            with connection, connection.cursor() as cursor:
                for statement, values, rows in json.loads(line):
                    _run(cursor, statement, values, rows)
        except psycopg2.Error as error:
            print(f"refused {type(error).__name__}", flush=True)
            if connection.closed:
                return
        else:
            print("committed", flush=True)


def _run(cursor: Any, statement: str, values: list[Any], rows: str | None) -> None:
    if rows is None:
        cursor.execute(statement, values or None)
    else:
        cursor.copy_expert(statement, io.StringIO(rows))


if __name__ == "__main__":
    main()
