"""Changes and deletes of REDCap: by dates, by the log, and by the ids of all records."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.integration.pipelines.sources.redcap.test_instruments import source, visits
from tests.support.data_plane.platform import Platform, Sql
from tests.support.servers.http_server import WebServer
from tests.support.servers.redcap import TOKEN
from tests.support.servers.redcap_project import MadeProject

HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAI_SECRET_REDCAP", TOKEN)
    monkeypatch.setenv("CAI_MAX_DELETE_FRACTION", "0.9")


def patients(count: int = 12) -> MadeProject:
    project = MadeProject([{"field_name": name, "form_name": "base", "field_type": "text"} for name in ("id", "age")])
    for number in range(count):
        project.cells[f"p{number}", "", "", ""] = {"age": "40"}
        project.note(f"p{number}", at=datetime(2024, 1, 1, tzinfo=UTC))
    return project


def asked_for(project: MadeProject) -> set[str]:
    """The records that were asked for by their ids since the last look."""
    found = {
        value
        for form in project.forms
        if form["content"] == "record" and "fields[0]" not in form
        for name, value in form.items()
        if name.startswith("records[")
    }
    project.forms.clear()
    return found


@pytest.mark.parametrize(
    ("zone", "keys", "may_log", "again"),
    [
        (9, {}, False, {"p1", "p2"}),
        (9, {"time_zone": "Asia/Tokyo"}, False, {"p1"}),
        (9, {}, True, {"p1"}),
        (-5, {}, True, {"p1"}),
    ],
    ids=["neither", "the zone is named", "the log tells it", "the log of another zone"],
)
def test_only_what_changed_comes_again_where_the_servers_clock_is_known(
    platform: Platform, zone: int, keys: dict[str, Any], may_log: bool, again: set[str]
) -> None:
    project = patients()
    project.zone, project.may_log = timedelta(hours=zone), may_log
    project.note("p2", at=datetime.now(UTC) - 5 * HOUR)
    with WebServer(project) as web:
        connector = platform.add(source(web.url, layout="wide", content=["record"], **keys))
        platform.run(connector)
        asked_for(project)
        project.cells["p1", "", "", ""]["age"] = "41"
        project.note("p1")
        # REDCap notes the exports of its own API too.
        project.note("", "Data export (API)")
        summary = platform.run(connector)
    assert asked_for(project) == again
    assert platform.duck(f"SELECT age FROM connector_{connector}.record WHERE id = 'p1'") == [("41",)]
    assert summary.remarks == ()


def test_records_that_the_log_says_are_gone_are_told_where_nothing_is_deleted(platform: Platform) -> None:
    project = patients()
    with WebServer(project) as web:
        connector = platform.add(source(web.url, layout="wide", content=["record"]))
        platform.run(connector)
        project.delete("p3")
        summary = platform.run(connector)
    assert "1 record of those that changed since the last load is not there any more" in summary.sentence
    assert platform.duck(f"SELECT count(*) FROM connector_{connector}.record") == [(12,)]


@pytest.mark.parametrize("may_log", [True, False])
@pytest.mark.parametrize("layout", ["wide", "by_instrument"])
def test_deleted_and_renamed_records_and_instances_go(platform: Platform, layout: str, may_log: bool) -> None:
    project = visits()
    project.may_log = may_log
    with WebServer(project) as web:
        connector = platform.add(source(web.url, layout=layout, content=["record"], deletes="remove"))
        platform.run(connector)
        del project.cells["1", "base_arm_1", "labs", "2"]
        project.note("1")
        project.rename("2", "two")
        summary = platform.run(connector)
    assert "source.deletes" not in summary.sentence
    keys = f"SELECT study_id, redcap_repeat_instance FROM connector_{connector}.{{}} ORDER BY 1, 2"
    assert platform.duck(keys.format("record")) == [("1", ""), ("1", "1"), ("1", "1"), ("two", "")]
    if layout == "by_instrument":
        assert platform.duck(keys.format("labs")) == [("1", "1")]
        assert platform.duck(keys.format("base")) == [("1", ""), ("two", "")]


def test_rows_of_an_event_that_the_project_has_no_more_go(platform: Platform) -> None:
    project = visits()
    with WebServer(project) as web:
        connector = platform.add(source(web.url, content=["record"], deletes="remove"))
        platform.run(connector)
        del project.events["week_arm_1"]  # by its people, which changes no record
        project.cells = {cell: found for cell, found in project.cells.items() if cell[1] != "week_arm_1"}
        assert "no longer has the events 'week_arm_1'" in platform.run(connector).sentence
        assert platform.run(connector).remarks == ()
    for table, rows in {"record": 4, "vitals": 2}.items():
        assert platform.duck(f"SELECT count(*) FROM connector_{connector}.{table}") == [(rows,)]
        gone = f"SELECT count(*) FROM connector_{connector}.{table} WHERE redcap_event_name = 'week_arm_1'"
        assert platform.duck(gone) == [(0,)]


def test_what_is_gone_is_marked_and_loses_its_mark_when_it_comes_again(platform: Platform) -> None:
    project = visits()
    with WebServer(project) as web:
        connector = platform.add(source(web.url, content=["record"], deletes="mark"))
        platform.run(connector)
        gone = project.cells.pop(("1", "base_arm_1", "labs", "2"))
        project.note("1")
        platform.run(connector)
        marked = f"SELECT redcap_repeat_instance FROM connector_{connector}.labs WHERE _deleted_at IS NOT NULL"
        assert platform.duck(marked) == [("2",)]
        platform.run(connector)
        assert platform.duck(marked) == [("2",)]
        project.cells["1", "base_arm_1", "labs", "2"] = gone
        project.note("1")
        platform.run(connector)
        assert platform.duck(marked) == []


def test_too_many_that_are_gone_stay_and_are_told(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAI_MAX_DELETE_FRACTION", "0.25")
    project = patients()
    with WebServer(project) as web:
        connector = platform.add(source(web.url, layout="wide", content=["record"], deletes="remove"))
        platform.run(connector)
        for number in range(6):
            project.delete(f"p{number}")
        platform.settings = type(platform.settings)()
        assert "6 of 12 rows of table 'record' are gone at the source" in platform.run(connector).sentence
        assert platform.duck(f"SELECT count(*) FROM connector_{connector}.record") == [(12,)]
        platform.run(connector, allow_mass_delete=True)
    assert platform.duck(f"SELECT count(*) FROM connector_{connector}.record") == [(6,)]


def test_masked_ids_are_compared_as_they_landed(platform: Platform) -> None:
    project = patients()
    with WebServer(project) as web:
        connector = platform.add(source(web.url, content=["record"], deletes="remove", mask=["id"]))
        platform.run(connector)
        project.delete("p3")
        platform.run(connector)
    found = platform.duck(f"SELECT count(*), count(*) FILTER (id LIKE 'p%') FROM connector_{connector}.base")
    assert found == [(11, 0)]


def test_a_run_of_the_first_rows_takes_nothing_for_gone(platform: Platform) -> None:
    project = visits()
    with WebServer(project) as web:
        connector = platform.add(source(web.url, layout="wide", content=["record"], deletes="remove"))
        platform.run(connector)
        assert platform.run(connector, row_limit=1).rows == {"record": 4}
        platform.run(connector)
    assert platform.duck(f"SELECT count(*) FROM connector_{connector}.record") == [(5,)]


def test_what_is_gone_goes_in_postgres_too(platform: Platform, warehouse: Sql) -> None:
    project = visits()
    postgres = {"type": "postgres", "credentials": {"env": "CAI_SECRET_WAREHOUSE"}}
    with WebServer(project) as web:
        connector = platform.add(source(web.url, content=["record"], deletes="remove"), destination=postgres)
        platform.run(connector)
        del project.cells["1", "base_arm_1", "labs", "2"]
        project.note("1")
        project.delete("2")
        platform.run(connector)
    for table, rows in {"labs": [("1", "1")], "base": [("1", "")]}.items():
        assert warehouse(f"SELECT study_id, redcap_repeat_instance FROM connector_{connector}.{table}") == rows
