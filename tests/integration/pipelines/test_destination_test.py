"""Testing a destination on real ones: what can be written, why not, and that nothing of the test is left."""

from pathlib import Path
from typing import Any

import pytest

from pipelines.destination_test import PROBE, writable
from tests.support.control_plane.samples import row
from tests.support.data_plane.platform import Platform, Sql

WAREHOUSE = {"type": "postgres", "credentials": {"env": "CAI_SECRET_WAREHOUSE"}}
CAN = (True, "The destination can be written.")


def tried(platform: Platform, destination: dict[str, Any] | None, **columns: Any) -> tuple[bool, str]:
    """The answer for a connector that is not saved."""
    unsaved = {"id": 0, "source": {"type": "files", "url": "/", "table": "t"}, "destination": destination}
    return writable(row(**{**unsaved, **columns}), platform.settings)


def test_the_platforms_own_file_and_one_that_is_named(platform: Platform, tmp_path: Path) -> None:
    assert tried(platform, None) == CAN
    named = tmp_path / "lake" / "own.duckdb"
    assert tried(platform, {"type": "duckdb", "path": str(named)}) == CAN
    assert not named.parent.exists(), "nothing was made"
    (tmp_path / "taken").mkdir()
    ok, sentence = tried(platform, {"type": "duckdb", "path": str(tmp_path / "taken")})
    assert (ok, "destination.path is a directory" in sentence) == (False, True)
    (tmp_path / "text").write_text("no directory")
    ok, sentence = tried(platform, {"type": "duckdb", "path": str(tmp_path / "text" / "own.duckdb")})
    assert (ok, "destination.path can't be written" in sentence) == (False, True)
    ok, sentence = tried(platform, {"type": "duckdb", "path": "/etc/own.duckdb"})
    assert (ok, "CAI_LOCAL_DESTINATION_ROOTS" in sentence) == (False, True)


def test_of_postgres_the_logins_rights_decide(
    platform: Platform, warehouse: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tried(platform, WAREHOUSE) == CAN
    warehouse("DROP ROLE IF EXISTS probe_guest; CREATE ROLE probe_guest LOGIN PASSWORD 'guest-of-the-test'")
    ((database, port),) = warehouse("SELECT current_database(), current_setting('port')")
    try:
        warehouse("CREATE SCHEMA theirs AUTHORIZATION probe_guest; CREATE SCHEMA ours")
        guest = f"postgresql://probe_guest:guest-of-the-test@127.0.0.1:{port}/{database}"
        monkeypatch.setenv("CAI_SECRET_WAREHOUSE", guest)
        assert tried(platform, WAREHOUSE, dataset_name="theirs") == CAN
        ok, sentence = tried(platform, WAREHOUSE, dataset_name="ours")
        assert (ok, "may make no table in the schema 'ours'" in sentence) == (False, True)
        ok, sentence = tried(platform, WAREHOUSE)
        assert (ok, "may make no schema" in sentence) == (False, True)
        warehouse("ALTER ROLE probe_guest SET default_transaction_read_only = on")
        ok, sentence = tried(platform, WAREHOUSE, dataset_name="theirs")
        assert (ok, "takes no writes" in sentence) == (False, True)
        assert warehouse("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'cai_probe%'") == []
        monkeypatch.setenv("CAI_SECRET_WAREHOUSE", guest.replace("guest-of-the-test", "wrong"))
        ok, sentence = tried(platform, WAREHOUSE, dataset_name="theirs")
        assert not ok
        assert "wrong" not in sentence, "no secret in it"
    finally:
        warehouse("DROP OWNED BY probe_guest; DROP ROLE probe_guest")


def test_of_a_lake_nothing_is_left(platform: Platform, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    assert tried(platform, {"type": "filesystem", "url": str(lake)}) == CAN
    assert not list(lake.rglob(f"{PROBE}*"))
    (tmp_path / "text").write_text("no directory")
    ok, sentence = tried(platform, {"type": "filesystem", "url": str(tmp_path / "text")})
    assert not ok, sentence
