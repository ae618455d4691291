"""A webhook on the loopback, as operations' chat would offer one: what Apprise sends to `json://` arrives here."""

import json

from pydantic import SecretStr

from tests.support.servers.listener import Handler, HttpListener


class Webhook(HttpListener):
    """Listens on a free port while entered, and keeps what was said."""

    def __init__(self, status: int = 200) -> None:
        """`status` is what it answers with."""
        self.said: list[str] = []
        said = self.said

        class Receiving(Handler):
            def _receive(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                said.append(str(json.loads(body)["message"]))
                self.send_response(status)
                self.end_headers()

            do_POST = _receive  # noqa: N815

        super().__init__(Receiving)
        self.url = SecretStr(f"json://user:s3cret@127.0.0.1:{self.port}/")
