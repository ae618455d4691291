"""Methods of `protect`: what may become of a value before it lands. Pure: `pipelines` carries them out."""

from connectors.limits.closed_sets import ClosedSet


class Method(ClosedSet):
    """What becomes of a value before it lands."""

    HASH = "hash"
    """A keyed hash, as `mask` makes it: equal values stay equal."""
    HASH_REFERENCE = "hash_reference"
    """Of a FHIR reference the hash of its id, so that `Patient/1` still leads to the patient whose id is hashed."""
    TOKENIZE = "tokenize"
    """Another value of the same form, enciphered by FF1: who has the installation's key can turn it back."""
    TEXT = "text"
    """A free text in which what recognisers find by patterns gives way to a word for it. No names are found."""
    DROP = "drop"
    """Nothing lands, not even the column."""
    REDACT = "redact"
    """The column lands, empty."""
    YEAR = "year"
    MONTH = "month"
    BIRTH_YEAR = "birth_year"
    """The year, and none of people who are older than 89."""
    ZIP3 = "zip3"
    """The first three digits of a ZIP code, 000 where 20,000 people or fewer live."""
    AGE_CAP = "age_cap"
    """90 for everything above 89."""
    ROUND = "round"
    SHIFT_DATES = "shift_dates"
    """A date of the same patient's calendar, moved by a number of days that is the patient's own."""
    AS_IS = "as_is"
    """The value itself, where a later rule would treat it."""


KEYED = frozenset({Method.HASH, Method.HASH_REFERENCE, Method.TOKENIZE, Method.SHIFT_DATES})
"""Methods that need the installation's key."""

DISTINCT = frozenset({Method.HASH, Method.HASH_REFERENCE, Method.TOKENIZE, Method.AS_IS})
"""Methods after which different values are different still, as those of a key must be."""

AS_TEXT = frozenset({
    Method.HASH, Method.HASH_REFERENCE, Method.TOKENIZE, Method.TEXT, Method.YEAR, Method.MONTH, Method.BIRTH_YEAR,
    Method.ZIP3,
})  # fmt: skip
"""Methods of which the outcome is text, whatever the value was."""
