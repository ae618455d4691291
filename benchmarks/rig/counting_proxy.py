"""A proxy before a Prefect server that counts what passes it. A process of its own would cost what it measures."""

import asyncio
import re
import threading
from collections import Counter
from typing import Self
from urllib.parse import urlsplit

_REQUEST = re.compile(rb"^(GET|POST|PATCH|PUT|DELETE) (\S+) HTTP/1\.1\r\n")
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}")
_OF_THE_WORKER = ("/get_scheduled_flow_runs", "/workers/heartbeat", "/work_pools/")
"""Asked again and again whether there is a run or not."""


class CountingProxy:
    """Listens on a port of 127.0.0.1 for as long as it is entered."""

    def __init__(self, api: str) -> None:
        """`api` is the server's URL."""
        self._server = urlsplit(api)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.seen: Counter[str] = Counter()
        """Requests by method and path, ids left out; websockets as GET of theirs."""
        self.api = ""

    def __enter__(self) -> Self:
        self._thread.start()
        listening = asyncio.run_coroutine_threadsafe(asyncio.start_server(self._connected, "127.0.0.1", 0), self._loop)
        port = listening.result(10).sockets[0].getsockname()[1]
        self.api = f"http://127.0.0.1:{port}{self._server.path}"
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def reset(self) -> None:
        """Count anew."""
        self.seen.clear()

    @property
    def websockets(self) -> int:
        """Websockets that were opened."""
        return sum(count for path, count in self.seen.items() if "/events/" in path or path.endswith("/logs/out"))

    @property
    def requests(self) -> int:
        """Requests that were made for runs."""
        polls = sum(count for path, count in self.seen.items() if any(part in path for part in _OF_THE_WORKER))
        return sum(self.seen.values()) - self.websockets - polls

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert self._server.hostname is not None
        there, back = await asyncio.open_connection(self._server.hostname, self._server.port)
        await asyncio.gather(self._pass(reader, back, count=True), self._pass(there, writer, count=False))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, count: bool) -> None:
        try:
            while data := await reader.read(65536):
                if count and (found := _REQUEST.match(data)):
                    path = urlsplit(found[2].decode()).path.removeprefix(self._server.path)
                    self.seen[f"{found[1].decode()} {_ID.sub('*', path)}"] += 1
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()
