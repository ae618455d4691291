#!/usr/bin/env bash
# A safe cast of moments to days drops the time of day.
#
# pyarrow 26.0.1
# Behaviour: cast(..., safe=True) refuses to cut a fraction off a number, but takes 10:11:12 off a moment without an
# error when it becomes a date32.
# Seen: 2024-01-31 for 2024-01-31 10:11:12; ArrowInvalid for 1.5 to int64
# Exits with another status than 0 when that has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pyarrow==26.0.1
"$folder/venv/bin/python" - <<'PYTHON'
import datetime
import pyarrow as pa

moment = pa.array([datetime.datetime(2024, 1, 31, 10, 11, 12)], pa.timestamp("us"))
day = moment.cast(pa.date32(), safe=True)
print(day.to_pylist())
assert day.to_pylist() == [datetime.date(2024, 1, 31)]
try:
    pa.array([1.5]).cast(pa.int64(), safe=True)
except pa.ArrowInvalid as error:
    print("a number is refused:", error)
else:
    raise SystemExit("a fraction is cut off too")
PYTHON
