"""A FHIR server with one export of small resources, in a process of its own: for figures of exports.

`python -m benchmarks.data.fhir_export RESOURCES` prints its port. The files are made before the clock starts.
"""

import shutil
import sys
import tempfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import orjson

FILES = 4
GUIDE = "http://hl7.org/fhir/uv/bulkdata/CapabilityStatement/bulk-data"


def observation(number: int) -> dict[str, object]:
    """A small Observation, as a laboratory has it."""
    return {
        "resourceType": "Observation",
        "id": f"o{number}",
        "meta": {"versionId": "1", "lastUpdated": f"2025-01-{number % 28 + 1:02}T08:{number % 60:02}:00.000Z"},
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": f"{number % 900}-{number % 9}"}]},
        "subject": {"reference": f"Patient/p{number % 50_000}"},
        "effectiveDateTime": f"2025-01-{number % 28 + 1:02}T08:{number % 60:02}:00Z",
        "valueQuantity": {"value": number % 900 / 10, "unit": "mmol/L", "system": "http://unitsofmeasure.org"},
    }


def write(directory: Path, resources: int) -> list[int]:
    """The files of the export; the resources in each."""
    counts = []
    for file in range(FILES):
        numbers = range(file, resources, FILES)
        with (directory / f"{file}.ndjson").open("wb") as out:
            out.writelines(orjson.dumps(observation(number), option=orjson.OPT_APPEND_NEWLINE) for number in numbers)
        counts.append(len(numbers))
    return counts


def serve(resources: int) -> None:
    """Serve until the process is ended."""
    with tempfile.TemporaryDirectory() as made:
        directory = Path(made)
        counts = write(directory, resources)

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                name = self.path.partition("?")[0].rpartition("/")[2]
                home = f"http://{self.headers['Host']}/fhir"
                if name.endswith(".ndjson"):
                    path = directory / name
                    self._head(200, path.stat().st_size, "application/fhir+ndjson")
                    with path.open("rb") as file:
                        shutil.copyfileobj(file, self.wfile, 1 << 20)
                elif name == "$export":
                    self._head(202, 0, "application/json", location=f"{home}/job")
                elif name == "metadata":
                    self._json({"resourceType": "CapabilityStatement", "instantiates": [GUIDE], "rest": []})
                else:
                    output = [
                        {"type": "Observation", "url": f"{home}/{file}.ndjson", "count": count}
                        for file, count in enumerate(counts)
                    ]
                    self._json(
                        {"transactionTime": "2025-02-01T00:00:00Z", "requiresAccessToken": True, "output": output}
                    )

            def do_DELETE(self) -> None:
                self._head(202, 0, "application/json")

            def _json(self, value: object) -> None:
                body = orjson.dumps(value)
                self._head(200, len(body), "application/json")
                self.wfile.write(body)

            def _head(self, status: int, length: int, kind: str, location: str = "") -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(length))
                if location:
                    self.send_header("Content-Location", location)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                return

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        print(server.server_address[1], flush=True)
        server.serve_forever()


if __name__ == "__main__":
    serve(int(sys.argv[1]))
