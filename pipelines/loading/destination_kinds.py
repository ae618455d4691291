"""Kind of an opened destination: dlt's own name of it, whichever class of ours stands on dlt's."""

from typing import Any


def kind_of(destination: Any) -> str:
    """`duckdb`, `postgres` and so on; empty where there is none, or one that is not of dlt's.

    dlt's `destination_type` has the name of the class itself, and so another one for each class that stands on dlt's.
    """
    kinds = type(destination).__mro__
    return next((kind.__name__ for kind in kinds if kind.__module__.startswith("dlt.destinations.")), "")
