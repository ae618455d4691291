#!/usr/bin/env bash
# A number of JSON's grammar is called broken JSON.
#
# orjson 3.13.0
# Behaviour: 1E400 is a JSON number, and Python's own json reads it with parse_float=Decimal. orjson says of the whole
# document that it is no JSON, so one large exponent looks like a broken answer of the server.
# Seen: JSONDecodeError for [1E400]; Decimal('1E+400') by json
# Exits with another status than 0 when that has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check orjson==3.13.0
"$folder/venv/bin/python" - <<'PYTHON'
import json
from decimal import Decimal
import orjson

try:
    orjson.loads(b"[1E400]")
except orjson.JSONDecodeError as error:
    print(type(error).__name__, error)
else:
    raise SystemExit("it is read now")
assert json.loads("[1E400]", parse_float=Decimal) == [Decimal("1E400")]
PYTHON
