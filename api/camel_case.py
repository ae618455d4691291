"""The API's names: a connector's columns and a run's options in camelCase, wherever an answer names one.

Tables, forms and logs call a column by its own name (`dataset_name`), and so do the sentences that all of them share.
They are put into the API's names here, as they leave it, and nowhere before.
"""

import re
from dataclasses import fields
from typing import Annotated

from pydantic import AfterValidator
from pydantic.alias_generators import to_camel

from connectors.refusals import Refusal
from connectors.runs import Options
from use_cases.connectors import DEFAULTS

_OF_RUNS = [each.name for each in fields(Options)]
_COLUMNS = "|".join(name for name in (*DEFAULTS, *_OF_RUNS) if "_" in name)
# A column is what a path begins with: `source.run_policy` is a key of the source, and what is quoted is a user's own.
_COLUMN = re.compile(rf"(?<![\w./'\"`])({_COLUMNS})\b(?!['\"`])")


def in_camel_case(sentence: str) -> str:
    """A sentence with the API's names for the columns that it speaks of."""
    return _COLUMN.sub(lambda found: to_camel(found[0]), sentence)


def as_sent(refusal: Refusal) -> Refusal:
    """A refusal of `connectors.connector` with the pointer into the body as the API takes it."""
    first, *rest = refusal.pointer.split("/")  # of the whole body, it is empty
    return Refusal("/".join([first, *map(to_camel, rest[:1]), *rest[1:]]), in_camel_case(refusal.message))


Sentence = Annotated[str, AfterValidator(in_camel_case)]
"""A sentence of an answer."""
