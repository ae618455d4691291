"""FHIR exports: begun once, waited for without a run, read whole, ended; and what servers do wrong about them."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from connectors.runs import Options
from pipelines.errors import ConfigurationError, TransientError
from pipelines.host import PlainHost
from pipelines.run import Waiting, run_connector
from pipelines.sources.fhir.bulk import status
from pipelines.sources.http import waiting
from tests.support.data_plane.platform import Platform
from tests.support.servers.bulk import BulkServer, outcome, resource
from tests.support.servers.http_server import Answer, WebServer


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks and tries follow at once where the server asks for no wait."""
    monkeypatch.setattr(status, "SHORTEST", timedelta(seconds=0.01))
    monkeypatch.setattr(waiting, "FIRST_WAIT", 0.001)


@pytest.fixture
def server() -> BulkServer:
    patients = [resource("Patient", number) for number in range(250)]
    values = [resource("Observation", number, valueQuantity={"value": "=1.50"}, n="=1.50") for number in range(120)]
    return BulkServer([*patients, *values])


@pytest.fixture
def web(server: BulkServer) -> Iterator[WebServer]:
    with WebServer(server) as web:
        yield web
    assert server.faults == []


def source(web: WebServer, **keys: Any) -> dict[str, Any]:
    types = ["Patient", "Observation"]
    return {"type": "fhir", "base_url": web.url + "/fhir", "resource_types": types, "mode": "bulk", **keys}


def waits(platform: Platform, connector: int, **options: Any) -> Waiting:
    outcome = run_connector(connector, Options(**options), platform.settings, PlainHost())
    assert isinstance(outcome, Waiting), outcome
    return outcome


def asked(platform: Platform, query: str) -> list[tuple[Any, ...]]:
    with platform.connection.cursor() as cursor:
        cursor.execute(query)
        return list(cursor.fetchall()) if cursor.description else []


def counts(platform: Platform, connector: int) -> list[tuple[Any, ...]]:
    tables = ("patient", "observation")
    return [
        platform.duck(f"SELECT count(*), count(DISTINCT id) FROM connector_{connector}.{table}")[0] for table in tables
    ]


def test_all_lands_once_and_the_next_export_brings_what_has_changed(
    platform: Platform, server: BulkServer, web: WebServer
) -> None:
    connector = platform.add(source(web))
    assert platform.run(connector).rows == {"patient": 250, "observation": 120}
    server.resources[3] = resource("Patient", 3, "2026-01-05T00:00:00Z", gender="other")
    server.now = "2026-01-06T00:00:00.123Z"
    assert platform.run(connector).rows == {"patient": 1}
    server.now = "2026-01-07T00:00:00Z"
    assert platform.run(connector).total_rows == 0
    assert [(job.path, job.types, job.since) for job in server.kick_offs] == [
        ("$export", ["Patient", "Observation"], since)
        for since in (None, "2026-01-01T00:00:00Z", "2026-01-06T00:00:00.123Z")
    ]
    assert server.ended == [1, 2, 3]
    assert asked(platform, "SELECT * FROM cai_exports") == []
    assert counts(platform, connector) == [(250, 250), (120, 120)]
    found = platform.duck(
        f"SELECT DISTINCT value_quantity::varchar, n, n__v_text FROM connector_{connector}.observation"
    )
    assert found == [('{"value":1.50}', 1.5, "1.50")]


@pytest.mark.parametrize("version", [2, 3, 4])
@pytest.mark.parametrize(
    ("keys", "path"),
    [({}, "$export"), ({"group": "g-1"}, "Group/g-1/$export"), ({"export_level": "patient"}, "Patient/$export")],
)
def test_each_level_is_asked_for_as_each_version_has_it(
    platform: Platform, server: BulkServer, web: WebServer, version: int, keys: dict[str, Any], path: str
) -> None:
    server.version, server.pages = version, version >= 3
    filters = ["Observation?status=final&code=a,b", "Observation?status=amended"]
    connector = platform.add(source(web, type_filters=filters, **keys))
    assert platform.run(connector).rows == {"patient": 250, "observation": 120}
    (job,) = server.kick_offs
    assert (job.path, job.types, job.filters) == (path, ["Patient", "Observation"], filters)


def test_no_run_waits_for_days_and_no_second_export_is_begun(
    platform: Platform, server: BulkServer, web: WebServer
) -> None:
    server.looks, server.retry_after = 2, "86000"
    connector = platform.add(source(web))
    first = waits(platform, connector)
    assert "Waiting for the server's export" in first.message
    assert "(... complete)" not in first.message
    before = len(web.asked)
    again = waits(platform, connector)  # its schedule starts another run meanwhile
    assert (again.at, again.key, len(web.asked)) == (first.at, first.key, before)
    assert asked(platform, "SELECT DISTINCT outcome FROM cai_loads") == [("waiting",)]
    assert asked(platform, "SELECT outcome, failures FROM cai_connector_loads") == [("waiting", 0)]
    for _ in range(2):
        asked(platform, "UPDATE cai_exports SET look_at = now()")
        outcome = run_connector(connector, Options(), platform.settings)
    assert not isinstance(outcome, Waiting)
    assert counts(platform, connector) == [(250, 250), (120, 120)]
    assert (len(server.kick_offs), server.ended) == (1, [1])


def test_a_run_goes_on_with_an_export_as_that_was_asked_for(
    platform: Platform, server: BulkServer, web: WebServer
) -> None:
    connector = platform.add(source(web))
    platform.run(connector)
    server.resources.pop(0)
    server.looks, server.retry_after = 1, "900"
    waits(platform, connector, full_refresh=True)
    asked(platform, "UPDATE cai_exports SET look_at = now()")
    platform.run(connector)
    assert counts(platform, connector) == [(249, 249), (120, 120)]
    assert [job.since for job in server.kick_offs] == [None, None]


def test_an_export_that_is_too_small_for_what_is_wanted_ends(
    platform: Platform, server: BulkServer, web: WebServer
) -> None:
    server.looks, server.retry_after = 1, "900"
    connector = platform.add(source(web, resource_types=["Patient"]))
    waits(platform, connector)
    wider = json.dumps(source(web))
    asked(platform, f"UPDATE cai_connectors SET source = '{wider}' WHERE id = {connector}")
    asked(platform, "UPDATE cai_exports SET look_at = now()")
    server.looks = 0
    summary = platform.run(connector)
    assert summary.rows == {"patient": 250, "observation": 120}
    assert "another begins" in summary.sentence
    assert server.ended == [1, 2]


def test_an_expired_export_begins_anew_and_that_is_told(platform: Platform, server: BulkServer, web: WebServer) -> None:
    server.looks, server.retry_after = 1, "900"
    connector = platform.add(source(web))
    waits(platform, connector)
    server.jobs.clear()
    server.looks = 0
    asked(platform, "UPDATE cai_exports SET look_at = now()")
    summary = platform.run(connector)
    assert "had expired at the server" in summary.sentence
    assert summary.rows == {"patient": 250, "observation": 120}
    assert len(server.kick_offs) == 2


def test_a_server_that_has_an_export_going_is_asked_later(
    platform: Platform, server: BulkServer, web: WebServer
) -> None:
    server.refuse = [Answer({}, 429, {"Retry-After": "600"})]
    connector = platform.add(source(web))
    waits(platform, connector)
    assert waits(platform, connector).message.count("begins no other now") == 1
    assert server.kick_offs == []
    asked(platform, "UPDATE cai_exports SET look_at = now()")
    assert platform.run(connector).total_rows == 370


def test_a_passing_fault_of_a_look_is_no_end_of_the_export(
    platform: Platform, server: BulkServer, web: WebServer
) -> None:
    server.at_look = [
        Answer(outcome("transient"), 500, {"Retry-After": "0"}),
        Answer(b"<html>", 503, {"Retry-After": "0"}),
        Answer({}, 429, {"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT"}),
    ]
    assert platform.run(platform.add(source(web))).total_rows == 370
    assert len(server.kick_offs) == 1


def test_an_export_that_the_server_gives_up_is_begun_by_the_next_run(
    platform: Platform, server: BulkServer, web: WebServer
) -> None:
    server.at_look = [Answer(outcome("processing"), 500)]
    connector = platform.add(source(web))
    with pytest.raises(ConfigurationError, match="given up its export"):
        platform.run(connector)
    assert platform.run(connector).total_rows == 370


def test_a_download_that_breaks_off_goes_on_where_it_stopped(
    platform: Platform, server: BulkServer, web: WebServer
) -> None:
    server.cut = 2
    connector = platform.add(source(web))
    assert platform.run(connector).rows == {"patient": 250, "observation": 120}
    assert (server.downloads["Patient"], counts(platform, connector)) == (5, [(250, 250), (120, 120)])


def test_files_whose_addresses_have_expired_are_asked_for_by_new_ones(
    platform: Platform, server: BulkServer, web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.links_expire = True
    connector = platform.add(source(web))
    serve = server._file

    def serve_later(path: str) -> Any:
        if not server.downloads:
            server.jobs[1].looks += 1  # the manifest that was read is out of date, once
        return serve(path)

    monkeypatch.setattr(server, "_file", serve_later)
    assert platform.run(connector).total_rows == 370


def test_another_number_of_resources_than_the_manifest_says_fails(
    platform: Platform, server: BulkServer, web: WebServer
) -> None:
    server.count_off = 1
    connector = platform.add(source(web))
    with pytest.raises(ConfigurationError, match=r"has 100 resources of Patient, and by its manifest 101"):
        platform.run(connector)
    with pytest.raises(ConfigurationError, match="check_complete"):
        platform.run(connector)
    assert len(server.kick_offs) == 1
    lenient = json.dumps(source(web, check_complete=False))
    asked(platform, f"UPDATE cai_connectors SET source = '{lenient}' WHERE id = {connector}")
    assert platform.run(connector).total_rows == 370
    assert len(server.kick_offs) == 1


@pytest.mark.parametrize("severity", ["information", "error"])
def test_what_a_server_could_not_export_is_told_and_asked_for_again(
    platform: Platform, server: BulkServer, web: WebServer, severity: str
) -> None:
    server.outcomes = [{"severity": severity, "code": "processing", "diagnostics": "of patient Chalmers"}]
    connector = platform.add(source(web))
    summary = platform.run(connector)
    assert ("could not export everything (processing: 1)" in summary.sentence) == (severity == "error")
    assert "Chalmers" not in summary.sentence
    assert summary.total_rows == 370
    server.now = "2026-02-01T00:00:00Z"
    platform.run(connector)
    assert server.kick_offs[1].since == (None if severity == "error" else "2026-01-01T00:00:00Z")


@pytest.mark.parametrize("deletes", ["ignore", "mark", "remove"])
@pytest.mark.parametrize("mask", [[], ["id"]])
def test_deleted_resources_are_gone_or_marked_as_the_connector_says(
    platform: Platform, server: BulkServer, web: WebServer, deletes: str, mask: list[str]
) -> None:
    connector = platform.add(source(web, deletes=deletes, mask=mask, history=True))
    platform.run(connector)
    server.gone = [("Patient", "p3"), ("Patient", "p4"), ("Patient", "never-there"), ("Device", "d1")]
    server.now = "2026-02-01T00:00:00Z"
    platform.run(connector)
    expected = {"ignore": 250, "mark": 250, "remove": 248}[deletes]
    assert counts(platform, connector)[0] == (expected, expected)
    if deletes == "mark":
        marked = f"SELECT count(*) FROM connector_{connector}.patient WHERE _deleted_at IS NOT NULL"
        assert platform.duck(marked) == [(2,)]
    told = asked(platform, "SELECT deleted FROM cai_load_tables WHERE table_name = 'patient' ORDER BY load_id DESC")
    assert told[0] == (None if deletes == "ignore" else 2,)
    versions = f"SELECT count(*) FROM connector_{connector}.patient__history WHERE valid_to IS NULL"
    assert platform.duck(versions) == [(250 if deletes == "ignore" else 248,)]


@pytest.mark.parametrize("deletes", ["mark", "remove"])
def test_the_version_of_a_deleted_resource_ends(
    platform: Platform, server: BulkServer, web: WebServer, deletes: str
) -> None:
    connector = platform.add(source(web, deletes=deletes, history=True))
    platform.run(connector)
    server.gone, server.now = [("Patient", "p3")], "2026-02-01T00:00:00Z"
    platform.run(connector)
    ended = f"SELECT id FROM connector_{connector}.patient__history WHERE valid_to IS NOT NULL"
    assert platform.duck(ended) == [("p3",)]


def test_deletes_by_ids_that_are_changed_on_their_way_are_refused(
    platform: Platform, server: BulkServer, web: WebServer
) -> None:
    rules = {"rules": [{"path": "id", "method": "hash"}]}
    with pytest.raises(ConfigurationError, match=r"source\.deletes goes by the ids"):
        platform.run(platform.add(source(web, deletes="remove", protect=rules)))
    assert server.kick_offs == []


def test_a_deleted_resource_that_comes_again_has_no_mark(
    platform: Platform, server: BulkServer, web: WebServer
) -> None:
    connector = platform.add(source(web, deletes="mark"))
    platform.run(connector)
    server.gone, server.now = [("Patient", "p3")], "2026-02-01T00:00:00Z"
    platform.run(connector)
    server.gone, server.now = [], "2026-03-01T00:00:00Z"
    server.resources[3] = resource("Patient", 3, "2026-02-02T00:00:00Z")
    platform.run(connector)
    assert platform.duck(f"SELECT _deleted_at FROM connector_{connector}.patient WHERE id = 'p3'") == [(None,)]


def test_addresses_may_be_relative(platform: Platform, server: BulkServer, web: WebServer) -> None:
    server.relative = True
    assert platform.run(platform.add(source(web))).total_rows == 370
    assert server.ended == [1]


def test_files_of_another_host_are_read_without_a_login_where_the_connector_names_it(
    platform: Platform, server: BulkServer, web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAI_SECRET_TOKEN", "canary-token")
    login = {"type": "bearer", "token": {"env": "CAI_SECRET_TOKEN"}}
    with WebServer(server) as store:
        server.files_at = store.url + "/fhir"
        connector = platform.add(source(web, auth=login))
        with pytest.raises(ConfigurationError, match=r"not the host of source\.base_url"):
            platform.run(connector)
        assert store.asked == []
        known = json.dumps(source(web, auth=login, next_hosts=[f"127.0.0.1:{store.port}"]))
        asked(platform, f"UPDATE cai_connectors SET source = '{known}' WHERE id = {connector}")
        assert platform.run(connector).total_rows == 370
        assert not any("authorization" in each.headers for each in store.asked)
    assert all(each.headers["authorization"] == "Bearer canary-token" for each in web.asked)


def test_a_line_that_is_no_json_is_told_by_its_number(platform: Platform, server: BulkServer, web: WebServer) -> None:
    server.resources.insert(1, resource("Patient", 999))
    rows = server._rows
    broken = b'{"resourceType": "Patient", "id": "canary\n'

    def with_broken(job: Any, kind: str, number: int) -> list[Any]:
        found: list[Any] = rows(job, kind, number)
        return [found[0], broken, *found[2:]] if (kind, number) == ("Patient", 0) else found

    server._rows = with_broken  # type: ignore[method-assign]
    with pytest.raises(ConfigurationError, match=r"Line 2 of a file with Patient .* is no JSON") as told:
        platform.run(platform.add(source(web)))
    assert "canary" not in str(told.value)


def test_auto_exports_where_the_server_offers_it(platform: Platform, server: BulkServer, web: WebServer) -> None:
    connector = platform.add(source(web, mode="auto"))
    assert platform.run(connector).total_rows == 370
    server.levels = ()
    narrowed = platform.add(source(web, mode="auto", group="g1"))
    with pytest.raises(ConfigurationError, match=r"no export on the level 'group', which source\.group needs"):
        platform.run(narrowed)
    assert len(server.kick_offs) == 1


@pytest.mark.parametrize("options", [{"row_limit": 5}, {"backfill_from": datetime(2026, 1, 1, tzinfo=UTC)}])
def test_an_export_has_no_part(platform: Platform, server: BulkServer, web: WebServer, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="no part of the past"):
        platform.run(platform.add(source(web)), **options)
    assert server.kick_offs == []


def test_a_run_of_some_tables_has_these_exported(platform: Platform, server: BulkServer, web: WebServer) -> None:
    connector = platform.add(source(web))
    assert platform.run(connector, tables=("observation",)).rows == {"observation": 120}
    assert platform.run(connector).rows == {"patient": 250, "observation": 120}
    assert [(job.types, job.since) for job in server.kick_offs] == [
        (["Observation"], None), (["Patient", "Observation"], None),
    ]  # fmt: skip


def test_a_search_goes_on_where_an_export_stopped(platform: Platform, server: BulkServer, web: WebServer) -> None:
    connector = platform.add(source(web))
    platform.run(connector)
    searching = json.dumps(source(web, mode="search", resource_types=["Patient"]))
    asked(platform, f"UPDATE cai_connectors SET source = '{searching}' WHERE id = {connector}")
    with pytest.raises((ConfigurationError, TransientError)):
        platform.run(connector)  # this server does not search
    assert web.asked[-1].query["_lastUpdated"] == "ge2025-12-31T23:55:00Z"


def test_a_connector_that_searches_from_now_on_ends_its_export(
    platform: Platform, server: BulkServer, web: WebServer
) -> None:
    server.looks, server.retry_after = 1, "900"
    connector = platform.add(source(web))
    waits(platform, connector, full_refresh=True)
    searching = json.dumps(source(web, mode="search"))
    asked(platform, f"UPDATE cai_connectors SET source = '{searching}' WHERE id = {connector}")
    with pytest.raises((ConfigurationError, TransientError)):
        platform.run(connector)  # this server does not search
    assert server.ended == [1]
    assert asked(platform, "SELECT * FROM cai_exports") == []
    assert asked(platform, "SELECT options FROM cai_loads ORDER BY id DESC LIMIT 1") == [({},)]


@pytest.mark.parametrize(
    ("deletion", "refusal"),
    [
        ("DELETE FROM cai_connectors", None),
        ("TRUNCATE cai_connectors", None),
        ("DELETE FROM cai_connectors", Answer(outcome("exception"), 503)),
    ],
    ids=["at once", "truncated", "later"],
)
def test_the_export_of_a_deleted_connector_is_ended_by_another_ones_run(
    platform: Platform, server: BulkServer, web: WebServer, deletion: str, refusal: Answer | None
) -> None:
    server.looks, server.retry_after = 2, "86000"
    server.at_end = [] if refusal is None else [refusal]
    deleted = platform.add(source(web))
    waits(platform, deleted)
    asked(platform, deletion)
    (platform.settings.data_dir.parent / "a.csv").write_text("id\n1\n")
    files = {"type": "files", "url": str(platform.settings.data_dir.parent), "format": "csv", "table": "a"}
    other = platform.add(files)
    platform.run(other)
    if refusal is not None:
        assert server.ended == []
        ((waiting,),) = asked(platform, "SELECT look_at > now() AND left_by IS NOT NULL FROM cai_exports")
        assert waiting
        platform.run(other)
        assert server.ended == []
        asked(platform, "UPDATE cai_exports SET look_at = now()")
        platform.run(other)
    assert server.ended == [1]
    assert asked(platform, "SELECT * FROM cai_exports") == []


def test_a_connector_that_comes_back_goes_on_with_its_export(
    platform: Platform, server: BulkServer, web: WebServer
) -> None:
    server.looks, server.retry_after = 1, "86000"
    connector = platform.add(source(web))
    waits(platform, connector)
    asked(platform, "CREATE TEMP TABLE kept AS SELECT * FROM cai_connectors")
    asked(platform, "DELETE FROM cai_connectors")
    asked(platform, "INSERT INTO cai_connectors OVERRIDING SYSTEM VALUE SELECT * FROM kept")
    asked(platform, "UPDATE cai_exports SET look_at = now()")
    platform.run(connector)
    assert counts(platform, connector) == [(250, 250), (120, 120)]
    assert (len(server.kick_offs), server.ended) == (1, [1])
