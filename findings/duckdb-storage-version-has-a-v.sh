#!/usr/bin/env bash
# A storage version is refused without its v.
#
# duckdb 2.0.0
# Behaviour: ATTACH ... (STORAGE_VERSION '1.4.0') is refused though releases are named so; 'v1.4.0' makes the file.
# Seen: an error for 1.4.0, a file for v1.4.0
# Exits with another status than 0 when that has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check duckdb==2.0.0
"$folder/venv/bin/python" - <<'PYTHON'
import pathlib
import tempfile
import duckdb

folder = pathlib.Path(tempfile.mkdtemp())
connection = duckdb.connect()
try:
    connection.execute(f"ATTACH '{folder / 'a.duckdb'}' AS a (STORAGE_VERSION '1.4.0')")
except duckdb.Error as error:
    print(type(error).__name__, str(error).splitlines()[0])
else:
    raise SystemExit("1.4.0 is taken now")
connection.execute(f"ATTACH '{folder / 'b.duckdb'}' AS b (STORAGE_VERSION 'v1.4.0')")
print("v1.4.0 is taken")
PYTHON
