"""One FHIR search: the resources of all its Bundles, and what the server says about the search itself.

A search that expires at the server (410, as HAPI answers, or 404) is begun again, where the server sorts from the last
moment seen: its rows are merged by id, so those that come twice change nothing.
"""

import logging
from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any

from pipelines.errors import ConfigurationError, RunError, TransientError
from pipelines.sources.fhir.outcomes import PASSING, code_of, is_bad, issues_of, told
from pipelines.sources.http.client import Client
from pipelines.sources.http.sending import ExpiredError
from pipelines.sources.paging.pages import Question, read_pages
from pipelines.sources.paging.paginators import Stated
from pipelines.sources.paging.selecting import Rows

MORE = "raise source.page_size, or set source.check_complete to false if the server counts something else."
"""What to do where a server counts more resources than its Bundles have, and links to no others."""

MOST_SEARCHES = 3
"""How often one search is begun when it expires each time."""

logger = logging.getLogger("prefect.pipelines")


def searched(client: Client, kind: str, params: Mapping[str, Any], *, check: bool = True) -> Iterator[dict[str, Any]]:
    """The Bundles of a search for resources of one type, each of which is an answer and no error.

    `check`: compare the total that the server states with what came.

    Raises:
        RunError: when the server refuses, or resources are missing.
    """
    names = (kind, *(word for name in params for word in (name, name.lstrip("_"))))
    last: dict[str, Any] = {}

    def select(bundle: Any) -> Rows:
        nonlocal last
        _look_at(bundle, kind, names, client)
        last = bundle
        return Rows(resources_in(bundle, kind))

    for attempt in count(1):
        # A paginator keeps where it is: a new one for each search.
        question = Question(
            table=kind,
            path=kind,
            params=params,
            paginator=Stated(links_only=True),
            select=select,
            check_complete=check,
            known=names,
            way_out=MORE,
        )
        try:
            for _ in read_pages(client, question):
                yield last
                last = {}  # an answer without content is looked at by nobody
        except ExpiredError:
            if attempt == MOST_SEARCHES:
                raise
            logger.info("The search of %s has expired at the server: it begins again.", kind)
        else:
            return


def resources_in(bundle: Mapping[str, Any], kind: str) -> list[dict[str, Any]]:
    """The resources of one type that a search found; what comes along with them is left out."""
    return [
        resource
        for entry, resource in _entries(bundle)
        if _part(entry, "search").get("mode", "match") == "match" and resource.get("resourceType") == kind
    ]


def _entries(bundle: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], dict[str, Any]]]:
    """The entries of a Bundle, each with its resource, if it has one. What is no entry is none."""
    entries = bundle.get("entry")
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict):
            yield entry, _part(entry, "resource")


def _part(entry: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = entry.get(name)
    return found if isinstance(found, dict) else {}


def _look_at(bundle: Any, kind: str, names: tuple[str, ...], client: Client) -> None:
    """Tell what the server says about the search; an error of it fails the run.

    Raises:
        RunError: when the server refuses, or what it found is not all.
    """
    sort = bundle.get("resourceType") if isinstance(bundle, dict) else None
    if sort == "OperationOutcome":
        raise _outcome(bundle, kind, names, unsaid="error") or ConfigurationError(
            f"The FHIR server answers the search of {kind} with no Bundle: check source.resource_types."
        )
    if sort != "Bundle":
        raise ConfigurationError(f"The answer to the search of {kind} is no FHIR Bundle: check source.base_url.")
    for _, resource in _entries(bundle):
        if resource.get("resourceType") == "OperationOutcome" and kind != "OperationOutcome":
            if (fault := _outcome(resource, kind, names)) is not None:
                raise fault
            _warn(resource, kind, names, client)


def _outcome(
    outcome: Mapping[str, Any], kind: str, names: tuple[str, ...], *, unsaid: str = "information"
) -> RunError | None:
    """The error that a server reports, if it reports one. `unsaid` is how severe an issue is that does not tell."""
    bad = [issue for issue in issues_of(outcome) or [{}] if is_bad(issue, unsaid)]
    if not bad:
        return None
    code, words = code_of(bad[0]), told(bad[0], names)
    if code in PASSING:
        return TransientError(f"The FHIR server can't search {kind} now ({code}).{words}")
    return ConfigurationError(
        f"The FHIR server refuses the search of {kind} ({code}): check source.resource_types.{words}"
    )


def _warn(outcome: Mapping[str, Any], kind: str, names: tuple[str, ...], client: Client) -> None:
    for issue in issues_of(outcome):
        if issue.get("severity") == "warning":
            client.remark(f"The FHIR server warns of the search of {kind} ({code_of(issue)}).{told(issue, names)}")
