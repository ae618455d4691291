"""Names that people and Prefect can take: why one cannot be, as the end of a sentence, or None. Pure.

A name with a character that nobody sees looks like another one and is none. A pool's or queue's name stands in paths of
Prefect's API, which refuses some characters there: found out by the controller it would look like Prefect's failure,
and be tried for ever.
"""

import unicodedata

NOT_IN_PATHS = "/%&<>"
"""What Prefect's own rule for names leaves out (`prefect.types.names`)."""

_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_BLANK_LETTERS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180e\u3164\uffa0")
"""Letters and marks of Unicode's that show nothing."""


def unseen_at(name: str) -> int | None:
    """Where the first character stands, from 1, that shows nothing and is no blank; None when there is none."""
    for place, character in enumerate(name, 1):
        if unicodedata.category(character) in _UNSEEN or character in _BLANK_LETTERS:
            return place
    return None


def why_no_name(name: str) -> str | None:
    """Why this cannot be what people call something."""
    place = unseen_at(name)
    if place is None:
        return None
    return f"holds a control character or one that nobody sees, as its character {place}: type it anew."


def why_no_pool(name: str) -> str | None:
    """Why this cannot be the name of a work pool or work queue of Prefect's."""
    if not name.strip("'\" \t\r\n"):
        return "must not be empty: leave it out for the platform's own."
    if (unseen := why_no_name(name)) is not None:
        return unseen
    if name != name.strip():
        return "must not begin or end with a blank."
    if any(character in NOT_IN_PATHS for character in name):
        return f"must not hold any of the characters {' '.join(NOT_IN_PATHS)}, which Prefect takes in no such name."
    if not name.strip("."):
        return "must not be made of dots alone, which lead elsewhere in an address."
    return None
