"""A database behind an SSH server: read, looked at, tested and compared through a tunnel whose far end was checked."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import paramiko
import pytest
from pydantic import TypeAdapter

from connectors.sources import Source
from connectors.sources.write_rules import Comparison
from pipelines.access import tunnels
from pipelines.access.buckets import KNOWN_HOSTS
from pipelines.access.host_keys import fingerprint
from pipelines.access.secrets import Secrets
from pipelines.discovery import discover
from pipelines.error_causes.classification import classify
from pipelines.errors import ConfigurationError, Step, TransientError
from pipelines.source_test import probe
from pipelines.sources import Context
from pipelines.sources.sql.reaching import reached
from tests.support.data_plane.platform import Platform, Sql
from tests.support.data_plane.tls import tls_in_front
from tests.support.servers.ssh_gate import SshGate, ssh_gate, ssh_of, text_of

NAME = "emr.clinic.test"
"""The database's name, which only the gate knows."""


@pytest.fixture
def gate(emr: Sql, monkeypatch: pytest.MonkeyPatch) -> Iterator[SshGate]:
    """A gate that knows the clinic's database as NAME, as the secret EMR does too."""
    emr("CREATE TABLE visit (id int PRIMARY KEY, note text)")
    emr("INSERT INTO visit SELECT n, repeat('x', 100) FROM generate_series(1, 5000) n")
    key = paramiko.ECDSAKey.generate()
    monkeypatch.setenv("CAI_SECRET_SSH", text_of(key))
    monkeypatch.setenv("CAI_SECRET_EMR", os.environ["CAI_SECRET_EMR"].replace("127.0.0.1", NAME))
    with ssh_gate(key, {NAME: "127.0.0.1"}) as running:
        yield running


def source_of(gate: SshGate, **more: Any) -> dict[str, Any]:
    return {
        "type": "sql_database",
        "credentials": {"env": "CAI_SECRET_EMR"},
        "ssh": ssh_of(gate, **more),
        "tables": [{"name": "visit", "primary_key": "id"}],
    }


def checked(source: dict[str, Any]) -> Source:
    adapter: TypeAdapter[Source] = TypeAdapter(Source)
    return adapter.validate_python(source)


def test_rows_come_through_it_and_it_ends_with_the_run(platform: Platform, gate: SshGate) -> None:
    connector = platform.add(source_of(gate))
    assert platform.run(connector).total_rows == 5000
    assert platform.duck(f"SELECT count(*), sum(id) FROM connector_{connector}.visit") == [(5000, 12_502_500)]
    assert {host for host, _ in gate.asked} == {NAME}
    assert gate.logins <= 2  # one connection for all sessions; its first question is which logins there are
    assert platform.run(connector, reconcile=Comparison.SUMS).sentence
    for transport in gate.transports:
        transport.join(30)  # the server is told by the connection's end, a moment later
        assert not transport.is_active()


def test_discovery_and_a_test_go_through_it(platform: Platform, gate: SshGate) -> None:
    source = checked(source_of(gate))
    assert [item.name for item in discover(source, platform.settings).items] == ["visit"]
    found = probe(source, platform.settings, 3)
    assert found.ok, found.message
    assert len(found.samples[0].rows) == 3
    assert {host for host, _ in gate.asked} == {NAME}


def test_no_login_is_sent_to_a_server_with_another_key(platform: Platform, gate: SshGate) -> None:
    other = fingerprint(paramiko.ECDSAKey.generate().asbytes())
    right = fingerprint(gate.host_key.asbytes())
    with pytest.raises(ConfigurationError, match=rf"not the one that source\.ssh\.host_key names.*{re.escape(right)}"):
        platform.run(platform.add(source_of(gate, host_key=other)))
    with pytest.raises(ConfigurationError, match="not known to this worker"):
        platform.run(platform.add(source_of(gate, host_key=None)))
    assert gate.logins == 0
    assert platform.run(platform.add(source_of(gate, host_key="first_use"))).total_rows == 5000
    assert f"[127.0.0.1]:{gate.port} " in (platform.settings.data_dir / KNOWN_HOSTS).read_text()


def test_what_is_refused_says_why(platform: Platform, gate: SshGate, monkeypatch: pytest.MonkeyPatch) -> None:
    connector = platform.add(source_of(gate))
    monkeypatch.setenv("CAI_SECRET_SSH", text_of(paramiko.ECDSAKey.generate()))
    with pytest.raises(ConfigurationError, match=r"refuses the login: check source\.ssh\.user"):
        platform.run(connector)
    monkeypatch.setenv("CAI_SECRET_SSH", "canary")
    with pytest.raises(ConfigurationError, match=r'"private_key" of source\.ssh\.private_key is no OpenSSH key'):
        platform.run(connector)
    locked = {"private_key": text_of(gate.key, "canary-phrase"), "passphrase": "canary-phrase"}
    monkeypatch.setenv("CAI_SECRET_SSH", json.dumps(locked))
    assert platform.run(connector).total_rows == 5000
    gate.forwards = False
    with pytest.raises(ConfigurationError, match="forward no connection"):
        platform.run(connector)
    gate.forwards = True
    monkeypatch.setenv("CAI_SECRET_EMR", f"postgresql://u:p@{NAME}:1/x")
    with pytest.raises(TransientError, match="reaches no database"):
        platform.run(connector)
    monkeypatch.setenv("CAI_SECRET_EMR", f"postgresql://u:p@{NAME},other/x")
    with pytest.raises(ConfigurationError, match="must name one host and its port"):
        platform.run(connector)
    gate.close()
    monkeypatch.setenv("CAI_SECRET_EMR", f"postgresql://u:p@{NAME}:1/x")
    with pytest.raises(TransientError, match=r"SSH server of source\.ssh does not answer"):
        platform.run(connector)


def test_a_lost_connection_may_pass_and_the_next_session_has_another(platform: Platform, gate: SshGate) -> None:
    source: Any = checked(source_of(gate))
    with tunnels.kept():
        engine = reached(source, Context.of(platform.settings, Secrets()))
        with engine.connect() as session:
            gate.cut()
            with pytest.raises(Exception, match=r".") as lost:
                session.exec_driver_sql("SELECT 1")
            assert isinstance(classify(lost.value, Step.EXTRACT), TransientError)
            session.invalidate()
        with engine.connect() as session:
            assert session.exec_driver_sql("SELECT count(*) FROM visit").scalar() == 5000
        gate.close()
        with pytest.raises(Exception, match=r".") as gone:
            engine.connect()
        assert isinstance(classify(gone.value, Step.EXTRACT), TransientError)


@pytest.mark.parametrize(("name", "lands"), [(NAME, True), ("other.clinic.test", False)])
def test_a_certificate_is_checked_against_the_databases_own_name(
    platform: Platform, gate: SshGate, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, *, lands: bool
) -> None:
    url = os.environ["CAI_SECRET_EMR"]
    with tls_in_front(url, tmp_path, name) as port:
        parts = urlsplit(url)
        address = url.replace(f":{parts.port}", f":{port}")
        monkeypatch.setenv("CAI_SECRET_EMR", f"{address}?sslmode=verify-full&sslrootcert={tmp_path}/ca.pem")
        connector = platform.add(source_of(gate))
        if lands:
            assert platform.run(connector).total_rows == 5000
        else:
            with pytest.raises(ConfigurationError, match="certificate"):
                platform.run(connector)
    assert (NAME, port) in gate.asked
