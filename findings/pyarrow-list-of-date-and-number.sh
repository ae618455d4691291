#!/usr/bin/env bash
# A list of a date and a number becomes a column of dates.
#
# pyarrow 26.0.1
# Behaviour: pa.array infers date32 from the first value and takes a later float for a number of days, fraction cut off,
# where a list of a date and a text is refused.
# Seen: [datetime.date(2024, 1, 31), datetime.date(1970, 1, 2)] for [date(2024, 1, 31), 1.5]
# Exits with another status than 0 when that has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pyarrow==26.0.1
"$folder/venv/bin/python" - <<'PYTHON'
import datetime
import pyarrow as pa

column = pa.array([datetime.date(2024, 1, 31), 1.5])
print(column.type, column.to_pylist())
assert column.type == pa.date32()
assert column.to_pylist() == [datetime.date(2024, 1, 31), datetime.date(1970, 1, 2)]
PYTHON
