"""A FHIR server that exports, as HL7's Bulk Data Access 2, 3 and 4 have it, and what such servers do wrong.

It refuses what the standard forbids a client, and remembers what it was asked.
"""

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.support.servers.http_server import Answer, Asked

GUIDE = "http://hl7.org/fhir/uv/bulkdata"


@dataclass
class Job:
    """One export."""

    number: int
    types: list[str]
    since: str | None
    filters: list[str]
    path: str
    time: str
    looks: int = 0


@dataclass
class BulkServer:
    """Exports its resources by type. What is set beside them is how it does that, or what it does wrong."""

    resources: list[dict[str, Any]]
    now: str = "2026-01-01T00:00:00Z"
    """The server's clock."""
    version: int = 2
    levels: tuple[str, ...] = ("system", "patient", "group")
    looks: int = 0
    """Looks at an export that find it not ready."""
    retry_after: str | None = "0"
    gone: list[tuple[str, str]] = field(default_factory=list)
    """Resources that were deleted, by type and id."""
    outcomes: list[dict[str, Any]] = field(default_factory=list)
    """The issues of the file that tells what went wrong."""
    file_rows: int = 100
    pages: bool = False
    """The manifest has a file a page (version 3)."""
    relative: bool = False
    files_at: str | None = None
    """Files are on another host, which wants no token."""
    cut: int = 0
    """Downloads that break off in the middle."""
    count_off: int = 0
    """How much the manifest's counts differ from the files."""
    links_expire: bool = False
    """Files' addresses are good for one manifest only."""
    refuse: list[Answer] = field(default_factory=list)
    """Answers to the next kick-offs."""
    at_look: list[Answer] = field(default_factory=list)
    """Answers to the next looks."""
    at_end: list[Answer] = field(default_factory=list)
    """Answers to the next requests to delete an export."""
    jobs: dict[int, Job] = field(default_factory=dict)
    kick_offs: list[Job] = field(default_factory=list)
    ended: list[int] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    """What the client did that the standard forbids."""
    downloads: Counter[str] = field(default_factory=Counter)

    def __call__(self, asked: Asked) -> Any:
        home = f"http://{asked.headers['host']}/fhir"
        path = asked.path.removeprefix("/fhir/")
        if path == "metadata":
            return self.statement()
        if path.endswith("$export"):
            return self._kick_off(asked, path, home)
        if path.startswith("jobs/"):
            return self._job(asked, path, home)
        if path.startswith("files/"):
            return self._file(path)
        return Answer(outcome("not-found"), 404)

    def statement(self) -> dict[str, Any]:
        """The CapabilityStatement."""
        of = {"system": "export", "patient": "patient-export", "group": "group-export"}
        offered = {
            level: {"name": "export", "definition": f"{GUIDE}/OperationDefinition/{of[level]}"} for level in self.levels
        }
        types = [
            {"type": name, "operation": [offered[level]] if level in offered else []}
            for name, level in (("Patient", "patient"), ("Group", "group"))
        ]
        rest = {"mode": "server", "resource": types, "operation": [offered["system"]] if "system" in offered else []}
        guide = f"{GUIDE}/ImplementationGuide/hl7.fhir.uv.bulkdata|{self.version}.0.0"
        return {"resourceType": "CapabilityStatement", "implementationGuide": [guide], "rest": [rest]}

    def _kick_off(self, asked: Asked, path: str, home: str) -> Any:
        if self.refuse:
            return self.refuse.pop(0)
        if asked.method == "GET" and self.version >= 4:
            return Answer(outcome("not-supported"), 405)
        if asked.headers.get("prefer") != "respond-async" or asked.headers.get("accept") != "application/fhir+json":
            self.faults.append("kick-off without Prefer or Accept")
        given = asked.every
        if asked.method == "POST":
            given = {}
            for each in json.loads(asked.body)["parameter"]:
                given.setdefault(each["name"], []).append(each.get("valueString") or each["valueInstant"])
            if any("," in value for value in given.get("_type", [])):
                self.faults.append("a list with commas in a POST")
        elif len(given.get("_type", [])) > 1:
            return Answer(outcome("invalid"), 400)  # as Cerner does
        types = [each for value in given.get("_type", []) for each in value.split(",")]
        since = given.get("_since", [None])[0]
        if since is not None and since not in {job.time for job in self.kick_offs}:
            self.faults.append(f"_since {since} is no transactionTime")
        job = Job(len(self.kick_offs) + 1, types, since, given.get("_typeFilter", []), path, self.now)
        self.kick_offs.append(job)
        self.jobs[job.number] = job
        where = f"/fhir/jobs/{job.number}" if self.relative else f"{home}/jobs/{job.number}"
        return Answer(b"", 202, {"Content-Location": where})

    def _job(self, asked: Asked, path: str, home: str) -> Any:
        number, _, page = path.removeprefix("jobs/").partition("/")
        job = self.jobs.get(int(number))
        if job is None:
            return Answer(outcome("not-found"), 404)
        if asked.method == "DELETE" and self.at_end:
            return self.at_end.pop(0)
        if asked.method == "DELETE":
            self.ended.append(job.number)
            del self.jobs[job.number]
            return Answer(b"", 202)
        if self.at_look:
            return self.at_look.pop(0)
        job.looks += 1
        if job.looks <= self.looks:
            waits = {} if self.retry_after is None else {"Retry-After": self.retry_after}
            return Answer(b"", 202, {"X-Progress": "50% complete", **waits})
        return self._manifest(job, home, int(page or 0))

    def _manifest(self, job: Job, home: str, page: int) -> dict[str, Any]:
        where = f"{self.files_at or home}/files"
        if self.relative:
            where = "../files" if "/" not in str(page) else "../../files"
        output = [
            {
                "type": kind,
                "url": f"{where}/{job.number}.{kind}.{number}.{job.looks}",
                "count": len(self._rows(job, kind, number)) + self.count_off,
            }
            for kind in job.types
            for number in range(-(-len(self._of(job, kind)) // self.file_rows))
        ]
        manifest: dict[str, Any] = {
            "transactionTime": job.time,
            "request": f"{home}/{job.path}",
            "requiresAccessToken": self.files_at is None,
            "output": output,
            "error" if self.version < 4 else "outcome": [],
        }
        if self.outcomes:
            told = {"type": "OperationOutcome", "url": f"{where}/{job.number}.OperationOutcome.0.0"}
            manifest["error" if self.version < 4 else "outcome"] = [told]
        if job.since is not None and self.gone:
            manifest["deleted"] = [{"type": "Bundle", "url": f"{where}/{job.number}.Bundle.0.0", "count": 1}]
        if self.pages:
            manifest["output"] = output[page : page + 1]
            if page + 1 < len(output):
                manifest["link"] = [{"relation": "next", "url": f"{home}/jobs/{job.number}/{page + 1}"}]
        return manifest

    def _of(self, job: Job, kind: str) -> list[dict[str, Any]]:
        return [
            each
            for each in self.resources
            if each["resourceType"] == kind and (job.since is None or each["meta"]["lastUpdated"] >= job.since)
        ]

    def _rows(self, job: Job, kind: str, number: int) -> list[dict[str, Any]]:
        return self._of(job, kind)[number * self.file_rows : (number + 1) * self.file_rows]

    def _file(self, path: str) -> Any:
        job_number, kind, number, looks = path.removeprefix("files/").split(".")
        job = self.jobs.get(int(job_number))
        self.downloads[kind] += 1
        if job is None or (self.links_expire and kind != "Bundle" and int(looks) < job.looks):
            return Answer(outcome("not-found"), 404)
        if kind == "OperationOutcome":
            rows: list[Any] = [{"resourceType": "OperationOutcome", "issue": [issue]} for issue in self.outcomes]
        elif kind == "Bundle":
            entries = [{"request": {"method": "DELETE", "url": f"{name}/{each}"}} for name, each in self.gone]
            rows = [{"resourceType": "Bundle", "type": "transaction", "entry": entries}]
        else:
            rows = self._rows(job, kind, int(number))
        body = b"".join(each if isinstance(each, bytes) else line(each) for each in rows)
        cut = len(body) // 2 if self.cut else None
        self.cut = max(0, self.cut - 1)
        return Answer(body, headers={"Content-Type": "application/fhir+ndjson"}, cut=cut)


def line(resource: dict[str, Any]) -> bytes:
    """A resource as a line; a value `"=1.50"` is written as the number 1.50."""
    text = json.dumps(resource, separators=(",", ":"))
    return (text.replace('"=1.50"', "1.50") + "\n").encode()


def outcome(code: str) -> dict[str, Any]:
    """An OperationOutcome with one error."""
    return {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": code}]}


def resource(kind: str, number: int, updated: str = "2025-12-01T00:00:00Z", **more: Any) -> dict[str, Any]:
    """A small resource."""
    return {"resourceType": kind, "id": f"{kind[0].lower()}{number}", "meta": {"lastUpdated": updated}, **more}
