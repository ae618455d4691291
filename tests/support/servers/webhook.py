"""A webhook on the loopback, as operations' chat would offer one: what Apprise sends to `json://` arrives here."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from pydantic import SecretStr


class Webhook:
    """Listens on a free port while entered, and keeps what was said."""

    def __init__(self, status: int = 200) -> None:
        """`status` is what it answers with."""
        self.said: list[str] = []
        said = self.said

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                said.append(str(json.loads(body)["message"]))
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Nothing on the console."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = SecretStr(f"json://user:s3cret@127.0.0.1:{self._server.server_address[1]}/")

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
