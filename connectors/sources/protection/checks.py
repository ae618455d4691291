"""Checks of `protect` against the tables of its source, as far as both say it before anything is read. Pure."""

from collections.abc import Callable, Sequence

from connectors.sources.protection.methods import DISTINCT
from connectors.sources.protection.paths import column_of, top_of
from connectors.sources.protection.rules import EVERY_TABLE, Protection
from connectors.sources.secret_references import refused


def refuse_unsafe(said: Protection, table: str, key: Sequence[str], alike: Callable[[str, str], bool]) -> None:
    """Refuse rules after which rows of a table could not be told apart.

    Args:
        said: the protection.
        table: the table's name.
        key: its primary key.
        alike: whether two names are spellings of one.

    Raises:
        PydanticCustomError: with the field that is at fault.
    """
    done: set[str] = set()
    for number, rule in enumerate(said.rules):
        column = None if rule.path is None else column_of(rule.path)
        if column is None or (rule.tables and not any(alike(table, each) for each in rule.tables)):
            continue
        of_key = next((name for name in key if alike(name, column)), None)
        if of_key is not None and of_key not in done and rule.method not in DISTINCT:
            raise refused(
                "{field} must be hash, hash_reference, tokenize or as_is for a column of a primary key, or rows can't "
                "be told apart.",
                "protect", "rules", number, "method",
            )  # fmt: skip
        done.add(of_key or "")
    if said.keep is None or said.profile is not None:
        return
    at = next((each for each in said.keep if alike(each, table)), EVERY_TABLE)
    paths = said.keep.get(at)
    if paths is None:
        raise refused(
            f"{{field}} says nothing of table '{table}': say what of it may land, or give a list for '*', all others.",
            "protect", "keep",
        )  # fmt: skip
    tops = [top_of(path) for path in paths]
    for name in key:
        if None not in tops and not any(top is not None and alike(top, name) for top in tops):
            raise refused(f"{{field}} must keep '{name}', which is in the primary key.", "protect", "keep", at)
