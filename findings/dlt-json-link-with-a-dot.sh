#!/usr/bin/env bash
# An OData next link is not found by its name.
#
# dlt 1.31.0
# Behaviour: JSONLinkPaginator(next_url_path='@odata.nextLink') reads the name as a path of two fields, finds nothing
# and ends after the first page without a word: the name must be quoted inside the path.
# Seen: no next page for @odata.nextLink, one for ['@odata.nextLink']
# Exits with another status than 0 when that has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check dlt==1.31.0
"$folder/venv/bin/python" - <<'PYTHON'
from dlt.sources.helpers.rest_client.paginators import JSONLinkPaginator
from requests import Response


def has_next(path):
    response = Response()
    response.status_code = 200
    response._content = b'{"value": [1], "@odata.nextLink": "https://example.org/visits?$skip=1"}'
    paginator = JSONLinkPaginator(next_url_path=path)
    paginator.update_state(response, [1])
    return paginator.has_next_page


print(has_next("@odata.nextLink"), has_next("['@odata.nextLink']"))
assert not has_next("@odata.nextLink")
assert has_next("['@odata.nextLink']")
PYTHON
