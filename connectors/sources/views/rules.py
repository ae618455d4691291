"""Rules for the views of one connector: they are of its types, land in tables of their own, and show nothing masked."""

from collections.abc import Collection, Sequence

from connectors.sources.secret_references import refused
from connectors.sources.views.definitions import View
from connectors.sources.write_rules import letters_and_digits, normalised

FIELD = "view_definitions"


def refuse_views(views: Sequence[View], types: Sequence[str], mask: Collection[str]) -> None:
    """Refuse views that a connector can't have.

    A mask hides elements of resources before a view sees them. A column of a view that is named as one of them and is
    of something else would not be masked, whatever who named it thought.
    """
    masked = {letters_and_digits(name) for name in mask}
    seen = {normalised(name) for name in types}
    for index, view in enumerate(views):
        if view.resource not in types:
            raise refused(
                f"{{field}} ({view.name}) is of {view.resource}, which resource_types has not: add it there.",
                FIELD,
                index,
            )
        if normalised(view.name) in seen or normalised(view.name).startswith("_dlt"):
            raise refused(
                f"{{field}} ({view.name}) would land in a table that there is already: give it another name.",
                FIELD,
                index,
            )
        seen.add(normalised(view.name))
        for column in view.columns():
            if letters_and_digits(column.name) in masked and column.path != column.name:
                raise refused(
                    f"{{field}} ({view.name}) has a column {column.name}, which mask names, made of something else "
                    "than that element, which is what a mask hides: give it another name.",
                    FIELD,
                    index,
                )
