#!/usr/bin/env bash
# An error of a Delta table quotes the value that does not fit.
#
# deltalake 1.6.6, pyarrow 26.0.1
# Behaviour: texts that are written into a column of numbers are refused by an exception of no class of its own, whose
# message holds the value: a log of errors then holds what a patient's record said.
# Seen: Exception: Cast error: Cannot cast string 'Jane Roe' to value of Int64 type
# Exits with another status than 0 when that has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check deltalake==1.6.6 pyarrow==26.0.1
"$folder/venv/bin/python" - <<'PYTHON'
import tempfile
import pyarrow as pa
from deltalake import write_deltalake

folder = tempfile.mkdtemp()
write_deltalake(folder, pa.table({"id": pa.array([1], pa.int64())}))
try:
    write_deltalake(folder, pa.table({"id": pa.array(["Jane Roe"])}), mode="append", schema_mode="merge")
except Exception as error:
    print(type(error).__name__, str(error)[:200])
    assert "Jane Roe" in str(error)
else:
    raise SystemExit("it is written")
PYTHON
