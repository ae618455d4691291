"""The command that brings a file of connectors to a platform: `python -m api apply connectors.yaml`.

It asks a running API, as whoever owns the token: so the same people may do the same, and the history says who did it.
Connectors that the file does not name are left alone. If this process dies, those of the file that were saved before
stay, and applying the same file again does the rest.
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from use_cases.exchange import Outcome

PATIENCE = 60.0
"""Seconds for the API's answer: a file of a thousand connectors is saved in some ten."""

_WORDS = {Outcome.CREATE: "new", Outcome.UPDATE: "changes", Outcome.NOTHING: "as the file says"}


def apply(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> int:
    """Compare a file with the platform, say what differs, and have it so.

    Args:
        arguments: of the command line, after `apply`.
        environment: `CAI_API_URL`, the API's address, and `CAI_APPLY_TOKEN`, which it lets in: never an argument, for
            other users of the machine can read those.

    Returns:
        The exit status: 0, or 1 where the file was not applied; why, stands on the standard error.
    """
    given = _parser(environment).parse_args(arguments)
    try:
        text = sys.stdin.read() if given.file == "-" else Path(given.file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not written in UTF-8"
        return _failed(f"{given.file} cannot be read: {reason}.")
    try:
        answer = _asked(given, text, environment.get("CAI_APPLY_TOKEN", ""))
        said = answer.json()
    except httpx.InvalidURL:
        return _failed(f"{given.url} is no address: write it as in http://127.0.0.1:8080.")
    except httpx.HTTPError as error:
        return _failed(f"The API at {given.url} does not answer ({type(error).__name__}): check --url or CAI_API_URL.")
    except ValueError:
        return _failed(f"What answers at {given.url} is not this platform's API: check --url or CAI_API_URL.")
    if answer.status_code != httpx.codes.OK:
        return _failed(*refusals_in_words(given.file, said))
    print("\n".join(in_words(said["items"], dry_run=given.dry_run)))
    return 0


def in_words(items: Sequence[Mapping[str, Any]], *, dry_run: bool) -> list[str]:
    """Lines that say what becomes of each connector, and what differs, from the API's answer."""
    lines = []
    for item in items:
        number = "" if item["id"] is None else f" ({item['id']})"
        lines.append(f"{item['name']}{number}: {_WORDS[item['outcome']]}")
        changes = () if item["outcome"] == Outcome.CREATE else item["changes"]
        lines += [f"    {change['path']}: {_shown(change['from'])} -> {_shown(change['to'])}" for change in changes]
    outcomes = [item["outcome"] for item in items]
    new, changed = outcomes.count(Outcome.CREATE), outcomes.count(Outcome.UPDATE)
    counted = f"{new} new, {changed} changed, {outcomes.count(Outcome.NOTHING)} as they were"
    return [*lines, f"Nothing was saved; it would be: {counted}." if dry_run else f"{counted}."]


def refusals_in_words(file: str, problem: Mapping[str, Any]) -> list[str]:
    """Lines that say why the file was not applied, each with its place in the file where it has one."""
    if str(problem.get("type", "")).endswith(":reason-required"):
        return ["Every change needs a reason here: say it with --reason.", "Nothing of the file was saved."]
    errors = problem.get("errors") or ()
    named = [f"{file}{each.get('pointer') or ''}: {each['detail']}" for each in errors]
    return [*(named or [str(problem.get("detail", "The API refuses it."))]), "Nothing of the file was saved."]


def _parser(environment: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m api apply", description="Have connectors as a file says.")
    parser.add_argument("file", metavar="FILE", help="YAML or JSON, as an export is written; - is standard input")
    parser.add_argument("--dry-run", action="store_true", help="only say what differs")
    parser.add_argument("--reason", help="kept in the history, such as the commit's first line")
    parser.add_argument(
        "--url",
        default=environment.get("CAI_API_URL", "http://127.0.0.1:8080"),
        help="the API's address; by default that of CAI_API_URL",
    )
    return parser


def _asked(given: argparse.Namespace, text: str, token: str) -> httpx.Response:
    headers = {"Content-Type": "application/yaml"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    if given.reason:
        headers["X-Reason"] = given.reason.encode()
    return httpx.post(
        f"{given.url.rstrip('/')}/api/v1/connectors/import",
        params={"dryRun": str(given.dry_run).lower()},
        content=text.encode(),
        headers=headers,
        timeout=PATIENCE,
    )


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _failed(*lines: str) -> int:
    print("\n".join(lines), file=sys.stderr)
    return 1
