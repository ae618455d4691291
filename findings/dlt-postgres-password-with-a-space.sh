#!/usr/bin/env bash
# A password with a space makes an address that only one of two drivers takes.
#
# dlt 1.31.0
# Behaviour: PostgresCredentials.to_native_representation() leaves a space in a password as it is. psycopg2 takes such an
# address; the ADBC driver, through which dlt loads parquet, refuses it.
# Seen: postgresql://clinic:correct horse@db:5432/warehouse
# Exits with another status than 0 when that has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'dlt[postgres]==1.31.0'
"$folder/venv/bin/python" - <<'PYTHON'
from dlt.destinations.impl.postgres.configuration import PostgresCredentials

credentials = PostgresCredentials()
credentials.parse_native_representation("postgresql://clinic:correct%20horse@db:5432/warehouse")
address = credentials.to_native_representation()
print(address)
assert "correct horse@" in address
PYTHON
