"""No connector makes a worker ask what is not a source: metadata services, Prefect, the platform's own database."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from pydantic import TypeAdapter

from connectors.sources import Source
from pipelines.access.database_urls import postgres_places
from pipelines.access.denied_hosts import DeniedHosts
from pipelines.errors import ConfigurationError
from pipelines.source_test import probe
from settings import Settings
from tests.support.data_plane.platform import Platform
from tests.support.servers.http_server import Answer, Asked, WebServer

Sql = Callable[[str], list[tuple[Any, ...]]]


@pytest.fixture
def denied(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> DeniedHosts:
    monkeypatch.setenv("CAI_DATABASE_URL", "postgresql://u:p@127.0.0.1:5433/platform")
    monkeypatch.setenv("CAI_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("PREFECT_API_URL", "http://localhost:4200/api")
    monkeypatch.delenv("CAI_DENIED_HOSTS", raising=False)
    return DeniedHosts.of(Settings())


@pytest.mark.parametrize(
    ("host", "port", "database"),
    [
        ("169.254.169.254", 80, None),
        ("::ffff:169.254.169.254", 80, None),
        ("fe80::1%1", 80, None),
        ("METADATA.google.internal.", 80, None),
        ("2852039166", 80, None),  # 169.254.169.254 as one number, which resolvers understand
        ("127.0.0.1", 4200, None),
        ("localhost", 4200, None),
        ("127.1", 4200, None),
        ("localhost", 5433, "platform"),
        ("64:ff9b::a9fe:a9fe", 80, None),  # the same through a gateway of NAT64, and by 6to4
        ("2002:a9fe:a9fe::1", 80, None),
        ("0.0.0.0", 4200, None),
        ("127.0.0.2", 4200, None),
        ("::1", 5433, "platform"),
        ("0.0.0.0", 5433, "platform"),
        ("/var/run/postgresql", 5433, "platform"),
        (None, 5433, "platform"),
    ],
)
def test_a_denied_host_is_refused_however_it_is_spelled(
    denied: DeniedHosts, host: str, port: int, database: str | None
) -> None:
    with pytest.raises(ConfigurationError, match="no connector may reach"):
        denied.check(host, port, database)


@pytest.mark.parametrize(
    ("host", "port", "database"),
    [
        ("127.0.0.1", 8081, None),  # a clinic's own API on the same machine
        ("127.0.0.1", 5433, "clinic"),  # another database of the same server
        ("10.1.2.3", 443, None),  # clinics have private addresses
        ("no-such-host.invalid", 80, None),
        (None, None, None),
    ],
)
def test_what_a_clinic_has_is_reached(denied: DeniedHosts, host: str | None, port: int | None, database: Any) -> None:
    denied.check(host, port, database)


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://u:p@127.0.0.1:5433/platform",
        "postgresql+psycopg2://u:p@[::1]:5433/platform",
        "postgresql://u:p@clinic.invalid:5433/platform?hostaddr=127.0.0.1",
        "postgresql://u:p@clinic.invalid,127.0.0.1:5433/platform",
        "postgresql://u:p@/platform?host=127.0.0.1&port=5433",
        "postgresql://u:p@127.0.0.1:1/clinic?port=5433&dbname=platform",
        "postgresql://platform:p@127.0.0.1:5433",
        "postgresql://u:p@/platform?host=/tmp&port=5433",
        "postgresql://u:p@:5433/platform",
    ],
)
def test_the_platforms_own_database_is_refused_by_whatever_libpq_makes_of_an_address(
    denied: DeniedHosts, address: str
) -> None:
    with pytest.raises(ConfigurationError, match="no connector may reach"):
        check_all(denied, address)


def test_a_clinics_database_is_reached_by_its_address_though_a_platforms_has_its_name(denied: DeniedHosts) -> None:
    check_all(denied, "postgresql://u:p@/platform?hostaddr=10.1.2.3&port=5433")
    check_all(denied, "postgresql://u:p@10.1.2.3:5433/platform")


def check_all(denied: DeniedHosts, address: str) -> None:
    for place in postgres_places(address):
        denied.check(*place)


def api(url: str) -> dict[str, Any]:
    return {"type": "rest_api", "base_url": url, "resources": [{"name": "visits", "path": "visits"}]}


def test_a_name_is_judged_by_the_address_that_the_connection_really_has(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAI_DENIED_HOSTS", "127.0.0.1/32")
    real = socket.getaddrinfo

    def rebound(host: Any, *arguments: Any, **more: Any) -> Any:
        # A name whose owner answers with another address than the one that was looked at before.
        return real("127.0.0.1" if host == "emr.invalid" else host, *arguments, **more)

    monkeypatch.setattr(socket, "getaddrinfo", rebound)
    with WebServer(lambda _: [{"id": 1}]) as server:
        found = probe_of(api(f"http://emr.invalid:{urlsplit(server.url).port}"))
        assert not found.ok
        assert found.message.startswith("The host emr.invalid is one that no connector may reach here")
        assert server.asked == []


def test_prefect_is_no_source_and_what_stands_beside_it_is(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    with WebServer(lambda _: [{"id": 1}]) as server, WebServer(lambda _: [{"secret": 1}]) as prefect:
        monkeypatch.setenv("PREFECT_API_URL", f"{prefect.url}/api")
        assert probe_of(api(server.url)).ok
        found = probe_of(api(prefect.url))
        assert not found.ok
        assert prefect.asked == []


def test_the_platforms_own_database_is_no_source_and_a_clinics_beside_it_is(
    platform: Platform, emr: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    emr("CREATE TABLE visit (id int)")
    source = {"type": "sql_database", "credentials": {"env": "CAI_SECRET_EMR"}, "tables": [{"name": "visit"}]}
    assert probe_of(source).ok
    monkeypatch.setenv("CAI_SECRET_EMR", platform.settings.resolved_database_url())
    with pytest.raises(ConfigurationError, match="no connector may reach"):
        platform.run(platform.add(source))


def probe_of(source: dict[str, Any]) -> Any:
    """A test of a source with the settings of now."""
    adapter: TypeAdapter[Source] = TypeAdapter(Source)
    return probe(adapter.validate_python(source), Settings())


WAREHOUSE = {"type": "postgres", "credentials": {"env": "CAI_SECRET_THERE"}}
LAKE = {"type": "filesystem", "url": "s3://lake/", "credentials": {"env": "CAI_SECRET_THERE"}, "format": "parquet"}
OTHER = {"type": "clickhouse", "credentials": {"env": "CAI_SECRET_THERE"}}


@pytest.mark.parametrize(
    ("destination", "secret"),
    [
        (WAREHOUSE, "postgresql://u:p@169.254.169.254/warehouse"),
        (WAREHOUSE, "postgresql://u:p@warehouse.invalid/warehouse?hostaddr=169.254.169.254"),
        (LAKE, '{"aws_access_key_id": "a", "aws_secret_access_key": "b", "endpoint_url": "http://169.254.169.254"}'),
        (OTHER, "clickhouse://u:p@169.254.169.254:9000/warehouse"),
        (OTHER, '{"host": "169.254.169.254", "port": 9440, "database": "warehouse", "username": "u", "password": "p"}'),
    ],
)
def test_a_destination_is_on_no_denied_host_either(
    platform: Platform, emr: Sql, monkeypatch: pytest.MonkeyPatch, destination: dict[str, Any], secret: str
) -> None:
    emr("CREATE TABLE visit (id int)")
    monkeypatch.setenv("CAI_SECRET_THERE", secret)
    source = {"type": "sql_database", "credentials": {"env": "CAI_SECRET_EMR"}, "tables": [{"name": "visit"}]}
    with pytest.raises(ConfigurationError, match="no connector may reach"):
        platform.run(platform.add(source, destination=destination))


def test_the_platforms_own_database_is_no_destination(
    platform: Platform, emr: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    emr("CREATE TABLE visit (id int)")
    monkeypatch.setenv("CAI_SECRET_THERE", platform.settings.resolved_database_url())
    source = {"type": "sql_database", "credentials": {"env": "CAI_SECRET_EMR"}, "tables": [{"name": "visit"}]}
    with pytest.raises(ConfigurationError, match="no connector may reach"):
        platform.run(platform.add(source, destination=WAREHOUSE))


def test_a_host_behind_a_proxy_is_judged_before_the_proxy_is_asked(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(asked: Asked) -> Any:
        if asked.path.endswith("/moved/visits"):
            return Answer([], 302, {"Location": "http://clinic.example.invalid/metadata"})
        return [{"id": 1}]

    real = socket.getaddrinfo

    def resolved(host: Any, *arguments: Any, **more: Any) -> Any:
        # The clinic's name stands for the metadata service from the second request on.
        asked_before = any("clinic.example.invalid" in str(asked.headers.get("host")) for asked in proxy.asked)
        there = "169.254.169.254" if asked_before else "127.0.0.1"
        return real(there if host == "clinic.example.invalid" else host, *arguments, **more)

    with WebServer(answer) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setattr(socket, "getaddrinfo", resolved)
        found = probe_of(api("http://169.254.169.254"))
        assert found.message.startswith("The host 169.254.169.254 is one that no connector may reach here")
        assert proxy.asked == []
        assert probe_of(api("http://clinic.example.invalid")).ok
        proxy.asked.clear()
        found = probe_of(api("http://clinic.example.invalid/moved"))
        assert found.message.startswith("The host clinic.example.invalid is one that no connector may reach here")
        assert len(proxy.asked) == 1
