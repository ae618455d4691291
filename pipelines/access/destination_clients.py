"""Clients of a pipeline's destination, made once: dlt looks for each setting of one in the environment whenever it is
asked for another, which takes longer than most of what is asked through it."""

from typing import Any
from weakref import WeakKeyDictionary

from dlt import Pipeline

_MADE: WeakKeyDictionary[Pipeline, Any] = WeakKeyDictionary()


def sql_client(pipeline: Pipeline) -> Any:
    """The client through which a pipeline's dataset is asked: to be opened by `with`, by one at a time."""
    if pipeline not in _MADE:
        _MADE[pipeline] = pipeline.sql_client()
    return _MADE[pipeline]
