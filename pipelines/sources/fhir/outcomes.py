"""OperationOutcomes: the issues that a FHIR server reports, without a word that may be a patient's. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

from pipelines.sources.http.error_words import safe_words
from pipelines.sources.paging.statements import names_in

PASSING = frozenset({"transient", "timeout", "throttled", "lock-error", "no-store", "exception", "incomplete"})
"""FHIR's codes of what may pass by itself."""

_LASTING = names_in(
    "invalid structure required value invariant security login unknown expired forbidden suppressed "
    "processing not-supported duplicate multiple-matches not-found deleted too-long code-invalid "
    "extension too-costly business-rule conflict limited-filter informational success"
)
"""FHIR's other codes of issues. One that is none of these might be anything, and is not shown."""


def is_outcome(value: Any) -> bool:
    """Whether a JSON value is an OperationOutcome."""
    return isinstance(value, dict) and value.get("resourceType") == "OperationOutcome"


def issues_of(outcome: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The issues of an OperationOutcome."""
    found = outcome.get("issue")
    return [issue for issue in found if isinstance(issue, dict)] if isinstance(found, list) else []


def is_bad(issue: Mapping[str, Any], unsaid: str = "information") -> bool:
    """Whether an issue is an error. `unsaid` is how severe one is that does not tell."""
    return issue.get("severity", unsaid) in {"error", "fatal"}


def code_of(issue: Mapping[str, Any]) -> str:
    """An issue's code, if it is one of FHIR's."""
    code = issue.get("code")
    return str(code) if isinstance(code, str) and code in PASSING | _LASTING else "unknown"


def told(issue: Mapping[str, Any], names: Iterable[str]) -> str:
    """What an issue says for people, as a sentence of its own; empty where it says nothing harmless."""
    details = issue.get("details")
    text = issue.get("diagnostics") or (details.get("text") if isinstance(details, dict) else None)
    words = safe_words(text, names) if isinstance(text, str) else ""
    return f" It says: {words}." if words else ""
