"""A REDCap project of many records and fields, behind its API, in a process of its own: for figures of memory.

`python -m benchmarks.data.redcap_project RECORDS FIELDS` prints its port. It refuses more than 500 records at once, as
a server does whose memory ends.
"""

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl

import orjson

TOKEN = "0123456789ABCDEF0123456789ABCDEF"
MOST_AT_ONCE = 500
FORMS = 50
VARIANTS = 23
"""Rows that differ; they come again and again, with other ids."""

_KINDS = (("", "text"), ("number", "text"), ("date_ymd", "text"), ("integer", "text"), ("", "radio"))
_MARK = b"RECORD-ID"


def dictionary(fields: int) -> list[dict[str, str]]:
    """The data dictionary: a record's id, and fields of five kinds in fifty forms."""
    found = [{"field_name": "record_id", "form_name": "form_00", "field_type": "text"}]
    for number in range(1, fields):
        validation, kind = _KINDS[number % len(_KINDS)]
        found.append(
            {
                "field_name": f"field_{number:04}",
                "form_name": f"form_{number * FORMS // fields:02}",
                "field_type": kind,
                "text_validation_type_or_show_slider_number": validation,
                "select_choices_or_calculations": "1, One | 2, Two | 3, Three" if kind == "radio" else "",
            }
        )
    return found


def _row(fields: int, variant: int) -> bytes:
    row: dict[str, str] = {"record_id": _MARK.decode()}
    for number in range(1, fields):
        values = (
            f"note {number * variant % 977}",
            f"{number * variant % 300}.5",
            f"20{variant:02}-0{number % 9 + 1}-1{number % 9}",
            str(number * variant % 1000),
            str(number % 3 + 1),
        )
        row[f"field_{number:04}"] = values[number % len(values)] if (number + variant) % 4 else ""
    return orjson.dumps({**row, **{f"form_{number:02}_complete": "2" for number in range(FORMS)}})


def serve(records: int, fields: int) -> None:
    """Answer until the process is ended."""
    rows = [_row(fields, variant) for variant in range(VARIANTS)]
    everything = [str(number) for number in range(1, records + 1)]
    ids = orjson.dumps([{"record_id": each} for each in everything])

    described = {
        "metadata": orjson.dumps(dictionary(fields)),
        "project": b'{"is_longitudinal": 0, "has_repeating_instruments_or_events": 0}',
    }

    def answer(form: dict[str, str]) -> tuple[int, bytes]:
        if form["content"] != "record":
            return 200, described[form["content"]]
        chosen = [value for name, value in form.items() if name.startswith("records[")]
        if form.get("fields[0]") == "record_id" and not chosen:
            return 200, ids
        if len(chosen or everything) > MOST_AT_ONCE:
            return 500, b"<b>Fatal error</b>: Allowed memory size of 134217728 bytes exhausted"
        found = (rows[int(each) % VARIANTS].replace(_MARK, each.encode()) for each in chosen or everything)
        return 200, b"[" + b",".join(found) + b"]"

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            asked = self.rfile.read(int(self.headers["Content-Length"])).decode()
            status, body = answer(dict(parse_qsl(asked)))
            self.send_response(status)
            self.send_header("Content-Type", "application/json" if status < 500 else "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    serve(int(sys.argv[1]), int(sys.argv[2]))
