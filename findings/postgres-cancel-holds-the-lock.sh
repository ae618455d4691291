#!/usr/bin/env bash
# A cancel of psycopg2 or of ADBC holds Python's lock until the server has hung up.
#
# psycopg2-binary 2.9.13, and adbc-driver-postgresql 1.13.0, which this does not install
# Behaviour: where a thread of the same process carries the connection (an SSH tunnel of paramiko's, a test's proxy), it
# can't take the cancel there, for it needs the lock: the process waits for ever. Opening a connection and executing a
# statement let go of the lock, so pg_cancel_backend by another session works.
# Seen: connected, then: the cancel has not come back after 10 seconds
# Exits with another status than 0 when that has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check psycopg2-binary==2.9.13
cat > "$folder/cancel.py" <<'PYTHON'
import socket
import struct
import threading

import psycopg2


kept = []


def message(kind, body):
    return kind + struct.pack("!I", len(body) + 4) + body


def serve(connection):
    """As much of PostgreSQL's protocol as a login and a cancel need."""
    (length,) = struct.unpack("!I", connection.recv(4))
    connection.recv(length - 4)
    if length == 16:  # a cancel, which is answered by hanging up
        connection.close()
        return
    said = message(b"R", struct.pack("!I", 0)) + message(b"K", struct.pack("!II", 1, 2))
    kept.append(connection)
    connection.sendall(said + message(b"S", b"client_encoding\0UTF8\0") + message(b"Z", b"I"))


def accept(listener):
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()


listener = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=accept, args=(listener,), daemon=True).start()
session = psycopg2.connect(host="127.0.0.1", port=listener.getsockname()[1], user="u", sslmode="disable", gssencmode="disable")
print("connected", flush=True)
session.cancel()
print("cancelled", flush=True)
PYTHON
status=0
timeout --signal=KILL 10 "$folder/venv/bin/python" "$folder/cancel.py" || status=$?
if [ "$status" != 137 ]; then
    echo "the cancel came back"
    exit 1
fi
echo "the cancel has not come back after 10 seconds"
