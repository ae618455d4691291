"""Addresses of PostgreSQL behind an SSH server: what the server is told, and what the driver gets."""

import psycopg2.extensions  # type: ignore[import-untyped]
import pytest

from pipelines.access.database_urls import one_place, postgres_through
from pipelines.errors import ConfigurationError


@pytest.mark.parametrize(
    ("address", "place", "judged_by"),
    [
        ("postgresql://u:p%20w@db.test/x?options=-c%20a%3Db", ("db.test", 5432), "db.test"),
        ("postgresql://u:p%20w@db.test:6432/x?sslmode=verify-full", ("db.test", 6432), "db.test"),
        ("postgresql://u:p%20w@db.test/x?hostaddr=10.0.0.1&port=7", ("10.0.0.1", 7), "db.test"),
        ("postgresql://u:p%20w@db.test/x?host=other.test", ("other.test", 5432), "other.test"),
        ("postgresql://u:p%20w@[2001:db8::1]:6432/x", ("2001:db8::1", 6432), "2001:db8::1"),
    ],
)
def test_the_tunnel_is_connected_to_and_the_host_is_judged(
    address: str, place: tuple[str, int], judged_by: str
) -> None:
    assert one_place(address, "destination") == place
    before = psycopg2.extensions.parse_dsn(address)
    after = psycopg2.extensions.parse_dsn(postgres_through(address, "127.0.0.1", 5555))
    assert (after.pop("hostaddr"), after.pop("port"), after.pop("host")) == ("127.0.0.1", "5555", judged_by)
    assert after == {name: value for name, value in before.items() if name not in {"host", "hostaddr", "port"}}


@pytest.mark.parametrize(
    "address",
    ["postgresql://u:p@a.test,b.test/x", "postgresql://u:p@a.test/x?host=/run/postgresql", "postgresql:///x"],
)
def test_what_is_no_one_place_is_refused(address: str) -> None:
    with pytest.raises(ConfigurationError, match=r"destination\.credentials must name one host and its port"):
        one_place(address, "destination")
