#!/usr/bin/env bash
# A decimal that has a digit more than its column once it is rounded becomes 0, and the error is lost.
#
# pyarrow 26.0.1
# Behaviour: `round_to_multiple` refuses a rounded decimal that does not fit, but only where it is the last value of the
# array: any valid value after it takes the error away, and 0 stands in its place.
# Seen: [99999999.99, 1] of decimal128(10, 2), to the nearest 5: [0.00, 0.00]; [1, 99999999.99]: an error
# Exits with another status than 0 when that has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pyarrow==26.0.1
"$folder/venv/bin/python" - <<'PYTHON'
from decimal import Decimal
import pyarrow as pa
import pyarrow.compute as pc

kind = pa.decimal128(10, 2)
values = pa.array([Decimal("99999999.99"), Decimal(1)], kind)
found = pc.round_to_multiple(values, multiple=pa.scalar(Decimal(5), kind), round_mode="half_to_even").to_pylist()
print(found)
assert found == [0, 0], found
PYTHON
