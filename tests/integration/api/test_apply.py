"""A file of connectors, applied from the command line to a served API: compared, saved, refused and said."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from api.exchange.command import refusals_in_words
from settings import ROOT
from tests.support.api_rig import BODY, CONNECTORS, TOKEN, client
from tests.support.servers.api_process import served

LABS, VISITS = {**BODY, "name": "Labs"}, {**BODY, "name": "Visits", "schedule": "0 5 * * *"}


@pytest.fixture
def address(database_url: str, tmp_path: Path) -> Iterator[str]:
    with served(database_url, tmp_path, TOKEN) as address:
        yield address


def apply(file: str, *more: str, url: str, token: str = TOKEN, text: str | None = None) -> tuple[int, str, str]:
    told = {**os.environ, "CAI_API_URL": url, "CAI_APPLY_TOKEN": token}
    command = [sys.executable, "-m", "api", "apply", file, *more]
    done = subprocess.run(command, cwd=ROOT, env=told, input=text, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def names(address: str) -> list[str]:
    answer = httpx.get(address + CONNECTORS, headers={"Authorization": f"Bearer {TOKEN}"}).json()
    return [each["name"] for each in answer["items"]]


def test_a_file_is_compared_then_applied_then_as_it_says(address: str, tmp_path: Path) -> None:
    file = tmp_path / "connectors.yaml"
    file.write_text(json.dumps({"connectors": [LABS, VISITS]}))
    assert apply(str(file), "--dry-run", url=address) == (
        0,
        "Labs: new\nVisits: new\nNothing was saved; it would be: 2 new, 0 changed, 0 as they were.\n",
        "",
    )
    assert names(address) == []

    status, said, _ = apply(str(file), url=address)
    assert (status, said.splitlines()[-1]) == (0, "2 new, 0 changed, 0 as they were.")
    assert names(address) == ["Labs", "Visits"]

    # What the file does not name is left alone; who changed it, and why, is in the history.
    document = {"connectors": [{**VISITS, "schedule": "0 6 * * *"}]}
    status, said, _ = apply("-", "--reason", "Später, é", url=address, text=json.dumps(document))
    assert (status, said) == (
        0,
        'Visits (2): changes\n    /schedule: "0 5 * * *" -> "0 6 * * *"\n0 new, 1 changed, 0 as they were.\n',
    )
    assert names(address) == ["Labs", "Visits"]
    history = httpx.get(f"{address}{CONNECTORS}/2/history", headers={"Authorization": f"Bearer {TOKEN}"}).json()
    assert (history["items"][0]["actor"], history["items"][0]["reason"]) == ("environment", "Später, é")


async def test_where_a_reason_is_required_the_command_says_how_to_give_one(database_url: str) -> None:
    async with client(database_url, reason_required=True) as http:
        answer = await http.post(f"{CONNECTORS}/import", json={"connectors": [LABS]})
    assert answer.status_code == 422
    assert refusals_in_words("labs.yaml", answer.json()) == [
        "Every change needs a reason here: say it with --reason.",
        "Nothing of the file was saved.",
    ]


def test_what_is_refused_is_said_with_its_place_and_nothing_is_saved(address: str, tmp_path: Path) -> None:
    file = tmp_path / "connectors.json"
    file.write_text(json.dumps({"connectors": [LABS, {**BODY, "schedule": "61 * * * *"}]}))
    status, said, why = apply(str(file), url=address)
    assert (status, said) == (1, "")
    assert why.startswith(f"{file}/connectors/1/schedule: ")
    assert why.endswith("\nNothing of the file was saved.\n")
    status, said, why = apply(str(file), url=address, token="another")
    assert (status, said) == (1, "")
    assert "another" not in why
    assert names(address) == []


@pytest.mark.parametrize(
    ("file", "url", "words"),
    [
        ("no-such-file.yaml", "http://127.0.0.1:1", "no-such-file.yaml cannot be read: No such file or directory."),
        ("-", "http://127.0.0.1:1", "does not answer (ConnectError): check --url or CAI_API_URL."),
        ("-", "http://host:port", "is no address"),
    ],
)
def test_a_file_that_reaches_nobody_says_why(file: str, url: str, words: str) -> None:
    status, said, why = apply(file, url=url, text="connectors: []")
    assert (status, said) == (1, "")
    assert words in why
