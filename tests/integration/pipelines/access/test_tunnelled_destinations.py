"""A PostgreSQL destination behind an SSH server: whatever a run asks of it goes through one tunnel."""

import contextlib
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import paramiko
import psycopg2  # type: ignore[import-untyped]
import pytest
from pydantic import TypeAdapter

from connectors.credentials import CredentialKind, CredentialRules, Registered, uses_of
from connectors.destinations.postgres import PostgresDestination
from connectors.runs import Options
from connectors.sources import Source
from pipelines.access import tunnels
from pipelines.access.denied_hosts import DeniedHosts
from pipelines.access.host_keys import fingerprint
from pipelines.access.secrets import Secrets
from pipelines.destination_test import writable
from pipelines.error_causes.classification import classify
from pipelines.errors import ConfigurationError, Step, TransientError
from pipelines.loading.destinations import address_of
from pipelines.loading.summary import Summary
from pipelines.run import run_connector
from pipelines.source_test import probe
from pipelines.sources.sql.streams import fitness
from pipelines.sources.sql.streams.snapshot import Snapshot
from tests.support.control_plane.samples import row
from tests.support.data_plane.helpers import Helpers
from tests.support.data_plane.platform import Platform, Sql
from tests.support.data_plane.samples import EMR
from tests.support.data_plane.tls import tls_in_front
from tests.support.servers.ssh_gate import SshGate, ssh_gate, ssh_of, text_of

NAME = "warehouse.clinic.test"
"""The destination's name, which only the gate knows: what does not go through it reaches nothing."""

CAN = (True, "The destination can be written.")


@pytest.fixture
def gate(warehouse: Sql, monkeypatch: pytest.MonkeyPatch) -> Iterator[SshGate]:
    """A gate that knows the destination as NAME, as the secret WAREHOUSE does too."""
    del warehouse
    key = paramiko.ECDSAKey.generate()
    monkeypatch.setenv("CAI_SECRET_SSH", text_of(key))
    monkeypatch.setenv("CAI_SECRET_WAREHOUSE", os.environ["CAI_SECRET_WAREHOUSE"].replace("127.0.0.1", NAME))
    with ssh_gate(key, {NAME: "127.0.0.1"}) as running:
        yield running


def destination_of(gate: SshGate, **more: Any) -> dict[str, Any]:
    return {"type": "postgres", "credentials": {"env": "CAI_SECRET_WAREHOUSE"}, "ssh": ssh_of(gate, **more)}


def tried(platform: Platform, destination: dict[str, Any]) -> tuple[bool, str]:
    """The answer of the destination's test, for a connector that is not saved."""
    source = {"type": "files", "url": "/", "table": "t"}
    return writable(row(id=0, source=source, destination=destination), platform.settings)


def test_each_step_of_a_run_goes_through_one_tunnel(
    platform: Platform, emr: Sql, warehouse: Sql, gate: SshGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    emr("CREATE TABLE visit (id int PRIMARY KEY, note text)")
    emr("INSERT INTO visit SELECT n, repeat('x', 20000) FROM generate_series(1, 300) n")
    emr("CREATE TABLE log AS SELECT id, id % 7 AS ward, timestamp '2024-01-01' + id * interval '1 s' AS at FROM visit")
    visit = {"name": "visit", "primary_key": "id", "deletes": "mark"}
    log = {"name": "log", "cursor_column": "at", "write_disposition": "append", "checks": {"not_null": ["id"]}}
    source = {"type": "sql_database", "credentials": EMR, "verify": "sums", "tables": [visit, log]}
    connector = platform.add(source, destination=destination_of(gate))
    platform.run(connector)
    assert gate.logins <= 2  # its first question is which logins there are
    emr("UPDATE visit SET note = 'new' WHERE id = 1; DELETE FROM visit WHERE id = 2")
    emr("INSERT INTO log VALUES (301, 1, '2025-01-01')")
    told = platform.run(connector)
    assert "differ" not in told.sentence
    assert told.compared is not None
    found = f"FROM connector_{connector}"
    assert warehouse(f"SELECT count(*), count(_deleted_at) {found}.visit") == [(300, 1)]
    assert warehouse(f"SELECT note {found}.visit WHERE id = 1") == [("new",)]
    assert warehouse(f"SELECT count(*), count(DISTINCT id) {found}.log") == [(301, 301)]
    assert platform.run(connector, reconcile="sums").sentence

    monkeypatch.setattr(fitness, "LEAST_BYTES", 0)
    streams = {"type": "sql_database", "credentials": EMR, "tables": [{"name": "visit", "split": 2}]}
    streamed = platform.add(streams, destination=destination_of(gate))
    host = Helpers(platform.settings)
    assert isinstance(run_connector(streamed, Options(), platform.settings, host), Summary)
    assert host.said == ["Copied 8 parts with 299 rows."]
    assert warehouse(f"SELECT count(*), sum(length(note)) FROM connector_{streamed}.visit") == [(299, 298 * 20000 + 3)]

    assert tried(platform, destination_of(gate)) == CAN
    assert {host for host, _ in gate.asked} == {NAME}
    for transport in gate.transports:
        transport.join(30)  # the server is told by the connection's end, a moment later
        assert not transport.is_active()


def test_what_is_refused_says_why(platform: Platform, gate: SshGate, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(**more: Any) -> str:
        ok, sentence = tried(platform, destination_of(gate, **more))
        assert not ok
        assert "canary" not in sentence
        return sentence

    right = re.escape(fingerprint(gate.host_key.asbytes()))
    other = fingerprint(paramiko.ECDSAKey.generate().asbytes())
    connector = platform.add(
        {"type": "files", "url": "/", "table": "t"}, destination=destination_of(gate, host_key=other)
    )
    with pytest.raises(
        ConfigurationError, match=rf"the destination's SSH server .* destination\.ssh\.host_key .*{right}"
    ):
        platform.run(connector)
    assert "is not known to this worker" in refused(host_key=None)
    assert gate.logins == 0
    assert "refuses the login: check destination.ssh.user" in refused(user="other")
    gate.forwards = False
    assert "destination.ssh lets this user forward no connection" in refused()
    gate.forwards = True
    monkeypatch.setenv("CAI_DENIED_HOSTS", NAME)
    platform.settings = type(platform.settings)()
    assert f"The host {NAME} is one that no connector may reach" in refused()
    monkeypatch.setenv("CAI_DENIED_HOSTS", "127.0.0.1")
    platform.settings = type(platform.settings)()
    assert "The host 127.0.0.1 is one that no connector may reach" in refused()
    monkeypatch.setenv("CAI_DENIED_HOSTS", "192.0.2.1")
    platform.settings = type(platform.settings)()
    with monkeypatch.context() as other_key:
        other_key.setenv("CAI_SECRET_SSH", "canary")
        assert '"private_key" of destination.ssh.private_key is no OpenSSH key' in refused()
    monkeypatch.setenv("CAI_SECRET_WAREHOUSE", f"postgresql://u:canary-pw@{NAME}:1/x")
    assert "The SSH server of destination.ssh reaches no database" in refused()
    monkeypatch.setenv("CAI_SECRET_WAREHOUSE", f"postgresql://u:canary-pw@{NAME},other/x")
    assert "destination.credentials must name one host and its port" in refused()


def test_credentials_are_held_to_the_host_behind_the_tunnel_and_to_the_ssh_server(
    platform: Platform, gate: SshGate
) -> None:
    destination = destination_of(gate)
    model = PostgresDestination.model_validate(destination)

    def secrets(database: str, server: str) -> Secrets:
        kinds = {"CAI_SECRET_WAREHOUSE": database, "CAI_SECRET_SSH": server}
        registered = tuple(Registered(name, None, CredentialKind.ENV, name, (host,)) for name, host in kinds.items())
        found = Secrets()
        found.permit(CredentialRules(registered), uses_of(None, destination))
        return found

    with tunnels.kept():
        address_of(model, secrets(NAME, "127.0.0.1"), platform.settings.data_dir, DeniedHosts())
        asked = list(gate.asked)
        with pytest.raises(ConfigurationError, match=r"CAI_SECRET_WAREHOUSE, which may be sent to 127\.0\.0\.1 alone"):
            address_of(model, secrets("127.0.0.1", "127.0.0.1"), platform.settings.data_dir, DeniedHosts())
        with pytest.raises(
            ConfigurationError, match=r"destination\.ssh\.private_key names .*CAI_SECRET_SSH, which may"
        ):
            secrets(NAME, "other.test")
    assert gate.asked == asked


def test_a_lost_tunnel_may_pass_and_is_told_by_no_port_of_this_machine(platform: Platform, gate: SshGate) -> None:
    model = PostgresDestination.model_validate(destination_of(gate))
    with tunnels.kept():
        address = address_of(model, Secrets(), platform.settings.data_dir, DeniedHosts())
        with contextlib.closing(psycopg2.connect(address)) as session, session.cursor() as cursor:
            gate.cut()
            with pytest.raises(psycopg2.Error) as lost:
                cursor.execute("SELECT 1")
            assert isinstance(classify(lost.value, Step.LOAD), TransientError)
        with contextlib.closing(psycopg2.connect(address)) as session, session.cursor() as cursor:
            cursor.execute("SELECT 1")
        gate.close()
        with pytest.raises(psycopg2.Error) as gone:
            psycopg2.connect(address)
        told = classify(gone.value, Step.LOAD)
        assert isinstance(told, TransientError)
        assert "destination's database at the far end of its SSH tunnel could not be reached" in str(told)
    ok, sentence = tried(platform, destination_of(gate))
    assert (ok, sentence) == (False, "The SSH server of destination.ssh does not answer, or has ended the connection.")


@pytest.mark.parametrize(("name", "takes"), [(NAME, True), ("other.clinic.test", False)])
def test_a_certificate_is_checked_against_the_databases_own_name(
    platform: Platform, gate: SshGate, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, *, takes: bool
) -> None:
    url = os.environ["CAI_SECRET_WAREHOUSE"]
    with tls_in_front(url, tmp_path, name) as port:
        address = url.replace(f":{urlsplit(url).port}", f":{port}")
        monkeypatch.setenv("CAI_SECRET_WAREHOUSE", f"{address}?sslmode=verify-full&sslrootcert={tmp_path}/ca.pem")
        ok, sentence = tried(platform, destination_of(gate))
    assert (ok, "certificate" in sentence) == (takes, not takes)
    assert (NAME, port) in gate.asked


@pytest.mark.timeout(60)
def test_what_reads_through_a_tunnel_can_be_cancelled(
    platform: Platform, emr: Sql, gate: SshGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither driver's own cancel can: it keeps the tunnel's threads from carrying it, and waits for the answer."""
    monkeypatch.setenv("CAI_SECRET_EMR", os.environ["CAI_SECRET_EMR"].replace("127.0.0.1", NAME))
    emr(
        "CREATE VIEW endless AS SELECT n AS id, repeat('x', 1000000) AS note, CASE WHEN n > 20 THEN "
        "pg_sleep(600)::text END AS late FROM generate_series(1, 30) n"
    )
    said = {"type": "sql_database", "credentials": EMR, "ssh": ssh_of(gate), "tables": [{"name": "endless"}]}
    adapter: TypeAdapter[Source] = TypeAdapter(Source)
    found = probe(adapter.validate_python(said), platform.settings, 3)
    assert found.ok, found.message

    model = PostgresDestination.model_validate(destination_of(gate))
    with tunnels.kept():
        snapshot = Snapshot()
        snapshot.address = address_of(model, Secrets(), platform.settings.data_dir, DeniedHosts())
        begun, ended = threading.Event(), []

        def wait() -> None:
            try:
                with snapshot.held():
                    begun.set()
                    snapshot.row("SELECT pg_sleep(600)")
            except psycopg2.errors.QueryCanceled as error:
                ended.append(error)

        thread = threading.Thread(target=wait)
        thread.start()
        assert begun.wait(30)
        while thread.is_alive():  # it may not have been asked yet
            snapshot.cancel()
            thread.join(0.1)
    assert len(ended) == 1
