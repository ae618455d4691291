"""A connector's number, wherever it is read from text: paths, cursors, deployments' names, notifications. Pure.

One parser, so that what one door takes no other refuses: Python's own reads `1_1` as eleven, digits of other scripts,
blanks and leading zeros, and `DELETE /connectors/1_1` would delete another connector than its author meant.
"""

import re

LARGEST_ID = 2**63 - 1
"""A connector's id is a bigint of the table: a larger one would fail every statement that it comes into."""

_NUMBER = re.compile(r"0|-?[1-9][0-9]*")


def is_plain(text: str) -> bool:
    """Whether a text is a whole number in the one way in which PostgreSQL writes it, however large."""
    return _NUMBER.fullmatch(text) is not None


def parse_number(text: str) -> int | None:
    """Any bigint, in the one way in which PostgreSQL writes it; None for everything else.

    Rows may be numbered below 1 by a mapper's mistake: they are listed and their deployments seen, and nothing more.
    """
    if len(text) > 20 or not is_plain(text):
        return None
    number = int(text)
    return number if -LARGEST_ID - 1 <= number <= LARGEST_ID else None


def parse_id(text: str) -> int | None:
    """The id of a connector, 1 to 2^63 - 1 in plain digits; None for everything else."""
    number = parse_number(text)
    return number if number is not None and is_id(number) else None


def is_id(number: int) -> bool:
    """Whether a connector may have this number."""
    return 1 <= number <= LARGEST_ID


def refusal(number: int) -> str:
    """Why a row of this number cannot be a connector."""
    return (
        f"A connector's id is a whole number from 1 to {LARGEST_ID}, and this row's is {number}: give it another one, "
        "by the table's own numbering."
    )
