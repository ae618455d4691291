#!/usr/bin/env bash
# A field of clinical data is taken for the cursor of the next page.
#
# dlt 1.31.0
# Behaviour: the paginator that is found out from the first answer takes a key that begins with 'next' for a cursor:
# an answer about a patient's next visit is asked for again with that date.
# Seen: JSONResponseCursorPaginator with the path next_visit
# Exits with another status than 0 when that has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check dlt==1.31.0
"$folder/venv/bin/python" - <<'PYTHON'
from dlt.sources.helpers.rest_client.detector import PaginatorFactory
from requests import Response

response = Response()
response.status_code = 200
response._content = b'{"next_visit": "2024-05-01", "visits": [{"id": 1}]}'
paginator, score = PaginatorFactory().create_paginator(response)
print(type(paginator).__name__, paginator.cursor_path, score)
assert type(paginator).__name__ == "JSONResponseCursorPaginator"
assert "next_visit" in str(paginator.cursor_path)
PYTHON
