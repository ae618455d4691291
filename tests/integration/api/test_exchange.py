"""Connectors as documents: what is written out is taken in again, compared first, and by those who may."""

import textwrap
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import yaml

from settings import ROOT
from tests.support.api_rig import BODY, CONNECTORS, client

IMPORT = f"{CONNECTORS}/import"
AS_YAML = {"Content-Type": "application/yaml"}


@pytest.fixture
async def api(database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with client(database_url) as http:
        yield http


async def outcomes(answer: httpx.Response) -> list[tuple[Any, ...]]:
    assert answer.status_code == 200, answer.text
    return [(each["name"], each["outcome"], len(each["changes"])) for each in answer.json()["items"]]


async def test_what_is_written_out_is_taken_in_as_it_was(api: httpx.AsyncClient) -> None:
    said = {**BODY, "description": "Größe", "runPolicy": {"retries": 5}, "tags": ["labs"], "owner": "Ada"}
    made = (await api.post(CONNECTORS, json=said)).json()
    written = (await api.get(f"{CONNECTORS}/{made['id']}/export")).text
    assert yaml.safe_load(written) == {
        "connectors": [{key: value for key, value in said.items() if key != "isActive"}]
    }, "without what is as usual"
    assert await outcomes(await api.post(IMPORT, content=written, headers=AS_YAML)) == [(BODY["name"], "nothing", 0)]
    as_json = (await api.get(f"{CONNECTORS}/{made['id']}/export", params={"format": "json"})).json()
    assert as_json == yaml.safe_load(written)
    assert (await api.get(f"{CONNECTORS}/{made['id']}")).json()["updatedAt"] == made["updatedAt"]

    await api.delete(f"{CONNECTORS}/{made['id']}")
    (again,) = (await api.post(IMPORT, content=written, headers=AS_YAML)).json()["items"]
    assert again["outcome"] == "create"
    back = (await api.get(f"{CONNECTORS}/{again['id']}")).json()
    assert {key: back[key] for key in said} == said


async def test_a_dry_run_says_what_differs_and_saves_nothing(api: httpx.AsyncClient) -> None:
    made = (await api.post(CONNECTORS, json=BODY)).json()
    document = {"connectors": [{**BODY, "schedule": "0 5 * * *"}, {**BODY, "name": "Another"}]}
    answer = await api.post(IMPORT, params={"dryRun": "true"}, json=document)
    changed, new = answer.json()["items"]
    assert (changed["outcome"], changed["id"], changed["changes"]) == (
        "update",
        made["id"],
        [{"path": "/schedule", "from": BODY["schedule"], "to": "0 5 * * *"}],
    )
    assert (new["outcome"], new["id"]) == ("create", None)
    listed = (await api.get(CONNECTORS)).json()["items"]
    assert [(each["name"], each["schedule"]) for each in listed] == [(BODY["name"], BODY["schedule"])]
    assert [name for name, *_ in await outcomes(await api.post(IMPORT, json=document))] == [BODY["name"], "Another"]
    listed = (await api.get(CONNECTORS)).json()["items"]
    assert [(each["name"], each["schedule"]) for each in listed] == [
        (BODY["name"], "0 5 * * *"),
        ("Another", BODY["schedule"]),
    ]


async def test_nothing_is_saved_while_any_part_is_refused(api: httpx.AsyncClient) -> None:
    document = {"connectors": [{**BODY, "name": "Good"}, {**BODY, "schedule": "61 * * * *"}, {**BODY, "name": "Good"}]}
    answer = await api.post(IMPORT, json=document)
    assert answer.status_code == 422
    assert [each["pointer"] for each in answer.json()["errors"]] == ["/connectors/1/schedule", "/connectors/2/name"]
    assert (await api.get(CONNECTORS)).json()["items"] == []
    unknown = await api.post(IMPORT, json={"connectors": [{**BODY, "colour": "red"}]})
    assert [each["pointer"] for each in unknown.json()["errors"]] == ["/connectors/0/colour"]


@pytest.mark.parametrize(
    ("text", "status", "words"),
    [
        ("connectors: [", 400, "neither YAML nor JSON at line"),
        ("a: &a [x]\nb: *a", 400, "refers to a part of itself"),
        ("connectors: []", 422, "connectors"),
        ("", 422, "JSON object"),
        ("- 2024-01-01", 422, "JSON object"),
        ("a: !!python/name:os.system x", 400, "neither YAML nor JSON"),
        ("[" * 5000, 400, "neither YAML nor JSON"),
    ],
)
async def test_what_is_no_document_is_refused_in_a_sentence(
    api: httpx.AsyncClient, text: str, status: int, words: str
) -> None:
    answer = await api.post(IMPORT, content=text, headers=AS_YAML)
    assert answer.status_code == status, answer.text
    assert words in answer.text
    assert (await api.post(IMPORT, content=text, headers={"Content-Type": "text/plain"})).status_code == 415


async def test_a_date_of_yaml_stays_the_text_that_it_is(api: httpx.AsyncClient) -> None:
    text = """
connectors:
  - name: Visits
    source:
      type: fhir
      base_url: https://example.org/r4
      resource_types: [Patient]
      since: 2024-01-01
"""
    (made,) = (await api.post(IMPORT, content=text, headers=AS_YAML)).json()["items"]
    assert (await api.get(f"{CONNECTORS}/{made['id']}")).json()["source"]["since"] == "2024-01-01"


async def test_the_file_that_the_docs_show_is_taken_in_and_kept_as_terraform_keeps_it(api: httpx.AsyncClient) -> None:
    page = (ROOT / "docs" / "as-code.md").read_text()
    shown = textwrap.dedent(page[page.index("    connectors:\n") : page.index("Then, from a pipeline")])
    assert await outcomes(await api.post(IMPORT, content=shown, headers=AS_YAML)) == [("Laboratory", "create", 8)]

    # A REST provider of Terraform creates, reads, changes and deletes one object, and has the answer's id.
    (said,) = yaml.safe_load(shown)["connectors"]
    body = {**said, "name": "Laboratory 2"}
    made = await api.post(CONNECTORS, json=body)
    path = f"{CONNECTORS}/{made.json()['id']}"
    assert made.status_code == 201
    assert {key: (await api.get(path)).json()[key] for key in body} == body
    changed = await api.put(path, json={**body, "schedule": "0 6 * * 1-5"})
    assert (changed.status_code, changed.json()["schedule"]) == (200, "0 6 * * 1-5")
    assert (await api.delete(path)).status_code == 204
    assert (await api.get(path)).status_code == 404
