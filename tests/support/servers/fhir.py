"""A FHIR server: searches answered with Bundles."""

from typing import Any
from urllib.parse import urlencode

from tests.support.servers.http_server import Answer, Asked


def patient(number: int, updated: str) -> dict[str, Any]:
    """A resource in the shape of the FHIR R4 example patient."""
    return {
        "resourceType": "Patient",
        "id": f"p{number}",
        "meta": {"versionId": "1", "lastUpdated": updated},
        "active": True,
        "name": [{"use": "official", "family": "Chalmers", "given": ["Peter", "James"]}],
        "gender": "male",
        "birthDate": "1974-12-25",
        "managingOrganization": {"reference": "Organization/1"},
    }


class FhirServer:
    """Answers searches with Bundles: `_count`, `_lastUpdated` with ge and lt, `next` links that hold a page's state."""

    def __init__(self, *resources: dict[str, Any]) -> None:
        self.resources = list(resources)

    def __call__(self, asked: Asked) -> Any:
        kind = asked.path.rpartition("/")[2]
        found = [item for item in self.resources if item["resourceType"] == kind]
        if since := asked.query.get("_lastUpdated"):
            found = [item for item in found if item["meta"]["lastUpdated"] >= since.removeprefix("ge")]
        start, count = int(asked.query.get("_offset", 0)), int(asked.query["_count"])
        page = found[start : start + count]
        base = f"http://{asked.headers['host']}{asked.path}"
        links = [{"relation": "self", "url": base}]
        if start + count < len(found):
            links.append({"relation": "next", "url": f"{base}?{urlencode({**asked.query, '_offset': start + count})}"})
        entries = [{"fullUrl": f"{base}/{item['id']}", "resource": item, "search": {"mode": "match"}} for item in page]
        entries.append({"resource": {"resourceType": "OperationOutcome"}, "search": {"mode": "outcome"}})
        bundle = {"resourceType": "Bundle", "type": "searchset", "total": len(found), "link": links, "entry": entries}
        return Answer(bundle, headers={"Content-Type": "application/fhir+json"})
