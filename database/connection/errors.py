"""Errors of PostgreSQL, each in a sentence by its own name: who must act differs with each.

A database that is gone, a table that somebody holds locked and a constraint of a back end's own look the same to
whoever catches `DATABASE_ERRORS`. Told alike ("does not answer") they send operations to the wrong place. Pure: no
sentence holds a value of a row, and of a constraint no more than its name and its table's.
"""

import re
from enum import StrEnum

import asyncpg
from sqlalchemy.exc import SQLAlchemyError

LOCK_NOT_AVAILABLE = "55P03"

HELD = (
    "Somebody else is changing this in the database at this moment, and nothing was changed: try again. If it lasts, "
    "another program has left a transaction open, and operations must end it."
)
"""What people are told whose change somebody else's transaction keeps from being made."""


PASSED_BY = (
    "The database does not do it, and nothing was changed: a trigger, a rule or a policy of the table passes over this "
    "row without a word. Ask operations what it asks for."
)
"""What people are told whose change a back end's trigger drops: no error says so, there is only no row."""


class Trouble(StrEnum):
    """The closed set of what goes wrong with a database."""

    AWAY = "away"
    """Nobody answers, or answers as it goes down."""
    LOCKED = "locked"
    """Somebody else's transaction holds what is needed."""
    CONSTRAINT = "constraint"
    """What is written breaks a constraint of a table."""
    REFUSED = "refused"
    """It refuses this statement: a trigger, a permission, a missing column."""
    FULL = "full"
    """It has no room, or no connection, left."""
    READ_ONLY = "read_only"
    """It takes no writes: a standby, or a database that was set so."""


_BY_CODE = {
    LOCK_NOT_AVAILABLE: Trouble.LOCKED,
    "25006": Trouble.READ_ONLY,
    "57014": Trouble.AWAY,  # our own time limit of a statement
}
_BY_CLASS = {
    "08": Trouble.AWAY,
    "23": Trouble.CONSTRAINT,
    "40": Trouble.LOCKED,
    "53": Trouble.FULL,
    "57": Trouble.AWAY,
    "58": Trouble.AWAY,
}

_OF_ROWS = ("22", "23", "27", "38", "39", "40", "44", "P0")
"""Classes of SQLSTATE that speak of the rows at hand (their values, constraints, triggers) and not of the database."""


_CHECK_OF_POLICY = "ExecWithCheckOptions"
"""Where PostgreSQL finds that a row breaks a policy (row level security), under the code of a missing permission."""


def sqlstate(error: BaseException) -> str | None:
    """PostgreSQL's code of an error, through whatever wraps it; None when it is none of PostgreSQL's."""
    code = getattr(_own(error), "sqlstate", None)
    return code if isinstance(code, str) and len(code) == 5 else None


def trouble_of(error: BaseException) -> Trouble:
    """What kind of trouble an error of the database is."""
    code = sqlstate(error)
    if code is None:
        return Trouble.AWAY
    return _BY_CODE.get(code) or _BY_CLASS.get(code[:2], Trouble.REFUSED)


def of_rows(error: BaseException) -> bool:
    """Whether an error is the matter of the rows that were written: other rows may be written all the same."""
    code = sqlstate(error)
    if code == "42501":
        return getattr(_own(error), "server_source_function", None) == _CHECK_OF_POLICY
    return code is not None and (code == LOCK_NOT_AVAILABLE or code[:2] in _OF_ROWS)


def constraint_of(error: BaseException) -> tuple[str, str] | None:
    """The constraint (or, of NOT NULL, the column) that is broken, and its table; None where none is named."""
    own = _own(error)
    name = getattr(own, "constraint_name", None) or getattr(own, "column_name", None)
    if trouble_of(error) is not Trouble.CONSTRAINT or name is None:
        return None
    return str(name), str(getattr(own, "table_name", None))


OTHER_ROWS = {"23505", "23P01", "23503", "23001"}
"""Codes of a constraint that other rows have a part in: unique, exclusion, foreign key."""


def because_of_others(error: BaseException) -> bool:
    """Whether a constraint is broken because of what stands in other rows."""
    return sqlstate(error) in OTHER_ROWS


def refusal(error: BaseException) -> str:
    """A sentence for whoever was to save something, of an error that is the matter of its rows; it shows no value."""
    own, code = _own(error), sqlstate(error)
    name, table = constraint_of(error) or ("", "")
    head = f"The database refuses it, and nothing was changed: the constraint {name} of the table {table}"
    match code:
        case "23505" if name.endswith("_pkey"):
            return (
                f"{head} says that the number which the new row was given is taken. The table's sequence is behind its "
                "rows: operations must set it to the largest id (setval)."
            )
        case "23505" | "23P01" if name:
            return f"{head} allows such a value once, and another row has it. Choose another one, or ask operations."
        case "23503" | "23001" if name:
            return f"{head} ties it to rows of another table, which lack it or still refer to it. Ask operations."
        case "23502" if name:
            return (
                f"The database refuses it, and nothing was changed: the column {name} of the table {table} must not be "
                "empty, and has no default. Fill it in, or ask operations to give it one."
            )
        case _ if name:
            return f"{head} does not allow it. Change what you save, or ask operations what it asks for."
    function = _FUNCTION.search(str(getattr(own, "context", None) or ""))
    by = f"its function {function[1]}" if function else f"a rule of its own ({type(own).__name__})"
    return f"The database refuses it by {by}, and nothing was changed. Ask operations what it asks for."


_FUNCTION = re.compile(r"function ([\w.]+)\(")


def told(error: BaseException) -> str:
    """What is wrong, as a clause after "The database": it names what it is, and shows no value."""
    code, kind = sqlstate(error), type(_own(error)).__name__
    match trouble_of(error):
        case Trouble.AWAY:
            return f"does not answer ({kind})."
        case Trouble.LOCKED:
            return "answers, but another session's open transaction holds locks that are waited for in vain."
        case Trouble.CONSTRAINT:
            named = constraint_of(error)
            which = f"the constraint {named[0]} of the table {named[1]}" if named else f"a constraint ({kind})"
            return f"refuses what is written: it breaks {which}."
        case Trouble.FULL:
            return f"has no room or no connection left ({kind}, {code})."
        case Trouble.READ_ONLY:
            return "takes no writes: it is a standby, or was set to read only."
        case Trouble.REFUSED:
            return f"refuses a statement ({kind}, {code})."


def _own(error: BaseException) -> BaseException:
    """The driver's own error below what SQLAlchemy makes of it."""
    seen = error
    while not isinstance(seen, asyncpg.PostgresError):
        below = getattr(seen, "orig", None) if isinstance(seen, SQLAlchemyError) else seen.__cause__
        if not isinstance(below, BaseException):
            break
        seen = below
    return seen
