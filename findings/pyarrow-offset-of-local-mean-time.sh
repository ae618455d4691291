#!/usr/bin/env bash
# A moment as text loses its instant where an offset has seconds.
#
# pyarrow 26.0.1, tzdata 2025.2
# Behaviour: before standard time a zone's offset is the local mean time's, in New York -04:56:02. The cast of a zoned
# timestamp to text writes the wall clock with that offset to the minute, so reading it back gives another instant.
# Seen: 1880-01-01 07:03:58-0456, which is 2 seconds off
# Exits with another status than 0 when that has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pyarrow==26.0.1 tzdata==2025.2
"$folder/venv/bin/python" - <<'PYTHON'
import datetime
import pyarrow as pa

instant = datetime.datetime(1880, 1, 1, 12, 0, 0, tzinfo=datetime.timezone.utc)
text = pa.array([instant], pa.timestamp("s", "America/New_York")).cast(pa.string())[0].as_py()
back = datetime.datetime.strptime(text, "%Y-%m-%d %H:%M:%S%z")
print(text, (back - instant).total_seconds(), "s off")
assert text.endswith("-0456")
assert back != instant
PYTHON
