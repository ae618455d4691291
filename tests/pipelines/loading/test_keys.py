"""Rows without a key are told before anything is written, with the way out."""

import pyarrow as pa
import pytest

from pipelines.errors import ConfigurationError
from pipelines.loading.keys import Keys


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ({"id": [1, None], "r": [1, 1]}, "At least 1 row of table t has no value in the key column 'id'"),
        ({"r": [1, 2]}, "At least 2 rows of table t have no value in the key column 'id'"),
        ({"id": [1, None], "id__v_text": [None, "a-3"], "r": [1, 1]}, "run a full refresh"),
        ({"id": [1, 2]}, "Column 'r' was in the key of table t"),
    ],
)
def test_a_row_without_its_key_is_told_with_the_way_out(rows: dict[str, list[object]], sentence: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Keys("t", ("id",), ("r",)).check(pa.table(rows))
    assert sentence in str(refused.value)
    assert "a-3" not in str(refused.value)


def test_rows_with_their_keys_pass() -> None:
    Keys("t", ("id",)).check(pa.table({"id": [1], "v": [None]}))
    Keys("t").check(pa.table({"v": [None]}))
