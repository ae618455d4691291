"""Masked columns: whatever the kind and the type, hashed; and a name that no column has ends the run."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import dlt
import pyarrow as pa
import pyarrow.parquet
import pytest

from pipelines.errors import ConfigurationError
from pipelines.protection.masking import Mask, masking_key
from pipelines.protection.methods.hashing import hashed
from settings import Settings
from tests.support.data_plane.platform import Platform
from tests.support.data_plane.samples import EMR
from tests.support.servers.http_server import WebServer

Sql = Callable[[str], list[tuple[Any, ...]]]
UNKNOWN = (
    "source.mask names 'snn', which no table of this connector has: correct the spelling, or remove it. "
    "Nothing was loaded."
)


def rest(url: str, *names: str, **keys: Any) -> dict[str, Any]:
    """A source with these paths of a web server."""
    resources = [{"name": name, "path": name, "paginator": {"type": "single_page"}} for name in names]
    return {"type": "rest_api", "base_url": url, "resources": resources, **keys}


def put(mask: Mask, items: list[Any]) -> Iterator[Any]:
    """What a resource of these items yields with the mask in its pipe."""
    resource = dlt.resource(items, name="visit")
    mask.put_into(resource)
    yield from resource


def masked(names: list[str], items: list[Any]) -> list[Any]:
    """The items, masked by the key `k`."""
    return list(put(Mask(names, b"k"), items))


def landed(platform: Platform, connector: int) -> list[tuple[Any, ...]]:
    """Tables of the connector's dataset."""
    if not (platform.settings.data_dir / "warehouse.duckdb").exists():
        return []
    return platform.duck(
        f"SELECT table_name FROM information_schema.tables WHERE table_schema = 'connector_{connector}' "
        "AND table_name NOT LIKE '\\_dlt%' ESCAPE '\\'"
    )


def test_a_misspelt_name_is_refused_before_a_database_is_read(platform: Platform, emr: Sql) -> None:
    emr("CREATE TABLE visit (id int, ssn text)")
    emr("INSERT INTO visit VALUES (1, 'canary')")
    source = {"type": "sql_database", "credentials": EMR, "tables": [{"name": "visit"}], "mask": ["ssn", "snn"]}
    connector = platform.add(source)
    with pytest.raises(ConfigurationError) as caught:
        platform.run(connector)
    assert str(caught.value) == UNKNOWN
    assert landed(platform, connector) == []


def test_a_masked_column_of_a_table_that_is_not_read_now_stops_nothing(platform: Platform, emr: Sql) -> None:
    emr("CREATE TABLE visit (id int, note text)")
    emr("CREATE TABLE patient (id int, ssn text)")
    emr("INSERT INTO visit VALUES (1, 'x')")
    tables = [{"name": "visit", "columns": ["id"]}, {"name": "patient"}]
    sql = {"type": "sql_database", "credentials": EMR, "tables": tables, "mask": ["ssn", "note"]}
    assert platform.run(platform.add(sql), tables=("visit",)).total_rows == 1
    with WebServer(lambda asked: [{"ssn": "1"}] if asked.path == "/patient" else [{"id": 1}]) as web:
        connector = platform.add(rest(web.url, "visit", "patient", mask=["ssn"]))
        assert platform.run(connector, tables=("visit",)).masked == ()
        assert platform.run(connector).masked == ("ssn",)


@pytest.mark.parametrize("kind", ["rest_api", "csv", "jsonl", "parquet"])
def test_a_misspelt_name_is_refused_before_anything_lands(platform: Platform, inbox: Path, kind: str) -> None:
    rows = [{"id": 1, "ssn": "canary"}]
    (inbox / "a.csv").write_text("id,ssn\n1,canary\n")
    (inbox / "a.jsonl").write_text(json.dumps(rows[0]))
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows), inbox / "a.parquet")
    with WebServer(lambda asked: rows) as web:
        source = rest(web.url, "visit") if kind == "rest_api" else {"type": "files", "url": str(inbox), "format": kind}
        connector = platform.add(source | {"mask": ["SNN"]})
        with pytest.raises(ConfigurationError, match=r"source\.mask names 'SNN', which no table of this connector has"):
            platform.run(connector)
    assert landed(platform, connector) == []
    assert b"canary" not in (platform.settings.data_dir / "warehouse.duckdb").read_bytes()


def test_an_increment_without_rows_or_without_the_column_is_loaded(platform: Platform) -> None:
    rows: list[dict[str, Any]] = [{"id": 1, "ssn": None}]
    with WebServer(lambda asked: rows) as web:
        connector = platform.add(rest(web.url, "visit", mask=["ssn"]))
        platform.run(connector)
        rows[:] = []
        assert platform.run(connector).total_rows == 0, "though its table has no such column yet"
        rows[:] = [{"id": 1, "ssn": "a"}]
        platform.run(connector)
        rows[:] = [{"id": 2}]
        assert platform.run(connector).total_rows == 1


def test_a_column_that_is_empty_in_the_first_file_is_known_by_its_header(platform: Platform, inbox: Path) -> None:
    (inbox / "a.csv").write_text("id,ssn\n1,\n")
    connector = platform.add({"type": "files", "url": str(inbox), "table": "visit", "mask": ["ssn"]})
    platform.run(connector)
    (inbox / "b.csv").write_text("id,ssn\n2,x\n")
    platform.run(connector)
    key = masking_key(platform.settings.data_dir)
    found = platform.duck(f"SELECT id, ssn FROM connector_{connector}.visit ORDER BY id")
    assert found == [(1, None), (2, hashed("x", key))]


def test_values_that_do_not_fit_their_column_are_masked_too(
    platform: Platform, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (inbox / "a.csv").write_text("id,ssn\n1,123\n")
    (inbox / "b.csv").write_text("id,ssn\n2,canary\n")
    with sqlite3.connect(inbox / "emr.sqlite") as emr:
        emr.execute("CREATE TABLE visit (id INTEGER, ssn INTEGER)")
        emr.executemany("INSERT INTO visit VALUES (?, ?)", [(1, 123), (2, "canary")])
    emr.close()
    monkeypatch.setenv("CAI_SECRET_EMR", f"sqlite:///{inbox}/emr.sqlite")
    for source in (
        {"type": "files", "url": str(inbox), "table": "visit"},
        {"type": "sql_database", "credentials": EMR, "tables": [{"name": "visit"}]},
    ):
        connector = platform.add(source | {"mask": ["ssn"]})
        platform.run(connector)
        found = platform.duck(f"SELECT * EXCLUDE (_dlt_load_id) FROM connector_{connector}.visit ORDER BY id")
        key = masking_key(platform.settings.data_dir)
        assert hashed(123, key) in found[0]
        assert hashed("canary", key) in found[1]
        assert "canary" not in str(found)


def test_a_masked_number_lands_as_text_and_merges_by_its_hash(platform: Platform, emr: Sql) -> None:
    emr("CREATE TABLE patient (mrn numeric(10), born date, weight numeric(6, 2), at timestamptz)")
    emr("INSERT INTO patient SELECT i, '1999-12-31', 70.5, now() FROM generate_series(1, 3) i")
    table = {"name": "patient", "primary_key": "mrn", "cursor_column": "at"}
    source = {"type": "sql_database", "credentials": EMR, "tables": [table], "mask": ["mrn", "born", "weight"]}
    connector = platform.add(source)
    summary = platform.run(connector)
    assert summary.masked == ("mrn", "born", "weight")
    assert "Masked before they landed: `mrn`, `born`, `weight`." in summary.markdown
    emr("UPDATE patient SET at = now() + interval '1 day', weight = 71 WHERE mrn = 1")
    assert platform.run(connector).total_rows == 1
    key = masking_key(platform.settings.data_dir)
    found = platform.duck(f"SELECT mrn, born, weight FROM connector_{connector}.patient")
    assert sorted(found) == sorted(
        (hashed(number, key), hashed("1999-12-31", key), hashed(71 if number == 1 else 70.5, key))
        for number in (1, 2, 3)
    )


def test_a_number_that_landed_in_clear_is_not_masked_on_top_of_it(platform: Platform, emr: Sql) -> None:
    emr("CREATE TABLE patient (mrn int)")
    emr("INSERT INTO patient VALUES (1)")
    source = {"type": "sql_database", "credentials": EMR, "tables": [{"name": "patient"}]}
    connector = platform.add(source)
    platform.run(connector)
    with platform.connection.cursor() as cursor:
        masked = json.dumps(source | {"mask": ["mrn"]})
        cursor.execute("UPDATE cai_connectors SET source = %s WHERE id = %s", (masked, connector))
    with pytest.raises(ConfigurationError, match=r"'mrn', which patient holds in clear, as bigint, .* full refresh"):
        platform.run(connector)
    platform.run(connector, full_refresh=True)
    assert platform.duck(f"SELECT mrn FROM connector_{connector}.patient") == [
        (hashed(1, masking_key(platform.settings.data_dir)),)
    ]


def test_masked_lists_and_structs_are_hashed(platform: Platform, inbox: Path) -> None:
    rows = [{"id": 1, "codes": ["I10", "E11"], "address": {"street": "canary"}}, {"id": 2, "codes": None}]
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows), inbox / "a.parquet")
    connector = platform.add(
        {"type": "files", "url": str(inbox), "format": "parquet", "table": "visit", "mask": ["codes", "address"]}
    )
    platform.run(connector)
    key = masking_key(platform.settings.data_dir)
    found = platform.duck(f"SELECT codes, address FROM connector_{connector}.visit ORDER BY id")
    assert found == [(hashed(["I10", "E11"], key), hashed({"street": "canary"}, key)), (None, None)]


def test_the_same_value_has_the_same_hash_whatever_its_type() -> None:
    numbers = ["7", 7, 7.0, Decimal("7.000"), Decimal(7)]
    assert len({hashed(value, b"k") for value in numbers}) == 1
    assert hashed(date(2024, 1, 31), b"k") == hashed("2024-01-31", b"k")
    assert hashed(Decimal("1E+2"), b"k") == hashed(100, b"k")
    different = [Decimal("12345678901234567890123456789012345678"), Decimal("12345678901234567890123456789012345679")]
    assert len({hashed(value, b"k") for value in different}) == 2
    assert hashed(None, b"k") is None


def test_a_bare_value_is_masked_as_the_column_in_which_it_lands() -> None:
    assert masked(["value"], ["canary"]) == [hashed("canary", b"k")]
    assert masked(["ssn"], ["plain"]) == ["plain"]


def test_a_column_whose_own_name_looks_like_one_beside_another_is_masked() -> None:
    assert masked(["note__v_old"], [{"note__v_old": "canary", "note": "x"}]) == [
        {"note__v_old": hashed("canary", b"k"), "note": "x"}
    ]
    for page in ({"a__v_b": "canary"}, pa.table({"a__v_b": ["canary"]})):
        mask = Mask(["a_v_b", "missing"], b"k")
        assert "canary" not in str(list(put(mask, [page])))
        assert (mask.met, mask.missed) == (("a_v_b",), ("missing",))


def test_only_what_was_hidden_is_told_as_masked() -> None:
    mask = Mask(["b"], b"k")
    assert list(put(mask, [{"a": "plain"}])) == [{"a": "plain"}]
    assert (mask.met, mask.missed) == ((), ("b",))


def test_a_name_is_compared_with_every_table_only_when_every_table_told_its_columns(
    platform: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    patients: list[dict[str, Any]] = []
    with WebServer(lambda asked: patients if asked.path == "/patient" else [{"id": 1}]) as web:
        connector = platform.add(rest(web.url, "patient", "visit", mask=["ssn"]))
        with caplog.at_level("WARNING", "prefect.pipelines"):
            assert platform.run(connector).total_rows == 1
        assert "source.mask names 'ssn', and none of this run's tables has had such a column so far." in caplog.text
        patients[:] = [{"id": 1, "name": "x"}]
        with pytest.raises(ConfigurationError, match="correct the spelling, or run it again when a row has it"):
            platform.run(connector)
        patients[:] = [{"id": 1, "ssn": "canary"}]
        assert platform.run(connector).masked == ("ssn",)
        patients[:] = []
        assert platform.run(connector).total_rows == 1
    assert platform.duck(f"SELECT ssn FROM connector_{connector}.patient") == [
        (hashed("canary", masking_key(platform.settings.data_dir)),)
    ]


def test_a_file_without_a_name_for_its_first_column_is_masked_by_the_name_it_lands_under(
    platform: Platform, inbox: Path
) -> None:
    (inbox / "a.csv").write_text(",id\ncanary,1\n")
    connector = platform.add({"type": "files", "url": str(inbox), "table": "visit", "mask": ["column"]})
    assert platform.run(connector).masked == ("column",)
    key = masking_key(platform.settings.data_dir)
    assert platform.duck(f'SELECT "column", id FROM connector_{connector}.visit') == [(hashed("canary", key), 1)]


def test_a_decimal_of_postgres_hashes_as_the_number_that_it_is(platform: Platform, emr: Sql) -> None:
    emr("CREATE TABLE visit (a numeric, b numeric(20, 4), c numeric(6, 2), d int, e text, f numeric)")
    emr("INSERT INTO visit VALUES (7, 7, 7, 7, '7', 'NaN'), (0.25, 0.25, 0.25, null, '0.25', 12345678901234567890)")
    source = {"type": "sql_database", "credentials": EMR, "tables": [{"name": "visit"}], "mask": list("abcdef")}
    connector = platform.add(source)
    platform.run(connector)
    key = masking_key(platform.settings.data_dir)
    seven, quarter, long = (hashed(value, key) for value in (7, "0.25", "12345678901234567890"))
    assert set(platform.duck(f"SELECT a, b, c, d, e, f FROM connector_{connector}.visit")) == {
        (seven, seven, seven, seven, seven, None),
        (quarter, quarter, quarter, None, quarter, long),
    }


def test_a_worker_that_keeps_no_files_makes_no_key(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAI_MASK_KEY_REQUIRED", "true")
    monkeypatch.delenv("CAI_SECRET_MASK_KEY", raising=False)
    platform.settings = Settings()
    with WebServer(lambda asked: [{"ssn": "1"}]) as web:
        connector = platform.add(rest(web.url, "visit", mask=["ssn"]))
        with pytest.raises(ConfigurationError, match="Set CAI_SECRET_MASK_KEY: this worker keeps no files"):
            platform.run(connector)
        assert not (platform.settings.data_dir / "mask.key").exists()
        assert platform.run(platform.add(rest(web.url, "visit"))).total_rows == 1
        monkeypatch.setenv("CAI_SECRET_MASK_KEY", "k")
        platform.run(connector)
    assert platform.duck(f"SELECT ssn FROM connector_{connector}.visit") == [(hashed("1", b"k"),)]
