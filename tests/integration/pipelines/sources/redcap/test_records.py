"""REDCap: a server that follows the API's documented form fields and errors."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from pipelines.access.secrets import Secrets
from pipelines.errors import ConfigurationError, RunError, TransientError
from pipelines.sources import Context
from pipelines.sources.http import waiting
from pipelines.sources.http.client import source_client
from pipelines.sources.redcap.asking import FIELDS, Project
from tests.support.data_plane.platform import Platform
from tests.support.servers.http_server import Answer, Asked, WebServer
from tests.support.servers.redcap import METADATA, TOKEN, Redcap


def source(url: str, **keys: Any) -> dict[str, Any]:
    return {"type": "redcap", "api_url": url + "/api/", "token": {"env": "CAI_SECRET_REDCAP"}, **keys}


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAI_SECRET_REDCAP", TOKEN)


def test_records_metadata_and_events_land_and_only_changes_come_again(platform: Platform) -> None:
    redcap = Redcap()
    with WebServer(redcap) as web:
        connector = platform.add(source(web.url, content=["record", "metadata", "event"]))
        assert platform.run(connector).rows == {"record": 40, "metadata": 2, "event": 1}
        redcap.change(0, datetime.now(UTC), weight="99")
        assert platform.run(connector).rows == {"record": 2, "metadata": 2, "event": 1}
    found = platform.duck(
        f"SELECT count(*), count(DISTINCT study_id), count(*) FILTER (weight = '99') FROM connector_{connector}.record"
    )
    assert found == [(40, 20, 1)]


def test_a_field_may_be_masked_before_there_is_a_record(platform: Platform, caplog: pytest.LogCaptureFixture) -> None:
    redcap = Redcap()
    records, redcap.records = redcap.records, []
    with WebServer(redcap) as web, caplog.at_level("WARNING", "prefect.pipelines"):
        connector = platform.add(source(web.url, content=["record", "metadata"], mask=["weight"]))
        assert platform.run(connector).rows == {"metadata": 2}
        assert "source.mask" not in caplog.text
        redcap.records = records
        redcap.change(0, datetime.now(UTC))
        assert platform.run(connector).masked == ("weight",)
        connector = platform.add(source(web.url, content=["record"], mask=["wieght"]))
        with pytest.raises(ConfigurationError, match="names 'wieght', which no table"):
            platform.run(connector)


def test_the_name_of_a_field_with_a_column_for_each_choice_masks_nothing_and_is_refused(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(METADATA[1], "field_type", "checkbox")
    redcap = Redcap()
    redcap.records = [{"study_id": "1", "weight___1": "canary"}]
    redcap.changed = {id(redcap.records[0]): datetime(2024, 1, 1, tzinfo=UTC)}
    with WebServer(redcap) as web:
        with pytest.raises(ConfigurationError, match="names 'weight', which no table"):
            platform.run(platform.add(source(web.url, content=["record"], mask=["weight"])))
        named = platform.add(source(web.url, content=["record"], mask=["weight___1"]))
        assert platform.run(named).masked == ("weight___1",)


def test_chosen_forms_are_asked_for_with_the_record_id(platform: Platform) -> None:
    redcap = Redcap()
    with WebServer(redcap) as web:
        platform.run(platform.add(source(web.url, content=["record"], forms=["demographics"], date_range=False)))
    assert redcap.forms[-1]["forms[0]"] == "demographics"
    assert redcap.forms[-1]["fields[0]"] == "study_id"


def test_a_wrong_token_is_said_and_never_shown(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAI_SECRET_REDCAP", "canary-token")
    with WebServer(Redcap()) as web:
        connector = platform.add(source(web.url))
        with pytest.raises(ConfigurationError, match="did not accept the token") as caught:
            platform.run(connector)
    assert "canary" not in json.dumps(str(caught.value))


@pytest.mark.parametrize("zone", [-12, -8, 0, 9, 14])
def test_no_change_is_missed_in_any_time_zone(platform: Platform, zone: float) -> None:
    redcap = Redcap(zone)
    with WebServer(redcap) as web:
        connector = platform.add(source(web.url, content=["record"]))
        platform.run(connector)
        redcap.change(0, datetime.now(UTC), weight="99")
        assert platform.run(connector).rows == {"record": 2}
    assert platform.duck(f"SELECT count(*) FROM connector_{connector}.record WHERE weight = '99'") == [(1,)]


@pytest.mark.parametrize("zone", [-12, -8, 0, 9, 14])
@pytest.mark.parametrize("date_range", [True, False])
def test_a_backfill_brings_its_time_in_any_time_zone(platform: Platform, zone: float, date_range: bool) -> None:
    redcap = Redcap(zone)
    redcap.change(0, datetime(2024, 6, 1, 10, tzinfo=UTC))
    window = {
        "backfill_from": datetime(2024, 6, 1, 12, tzinfo=timezone(timedelta(hours=2))),
        "backfill_to": datetime(2024, 6, 1, 10, 0, 1),  # noqa: DTZ001  # without a zone it is UTC
    }
    with WebServer(redcap) as web:
        connector = platform.add(source(web.url, content=["record"], date_range=date_range))
        assert platform.run(connector, **window).rows == {"record": 2}
        assert platform.run(connector, **window, row_limit=1).rows == {"record": 1}


def test_a_server_that_refuses_is_told_by_the_fields_of_redcap(platform: Platform) -> None:
    told = r"there is nothing: check source\.api_url"
    with WebServer(lambda asked: Answer({}, 404)) as web, pytest.raises(ConfigurationError, match=told):
        platform.run(platform.add(source(web.url)))


def test_more_forms_bring_what_they_hold_of_the_past(platform: Platform) -> None:
    redcap = Redcap()
    with WebServer(redcap) as web:
        connector = platform.add(source(web.url, content=["record"], forms=["demographics"]))
        platform.run(connector)
        with platform.connection.cursor() as cursor:
            wider = json.dumps(source(web.url, content=["record"], forms=["demographics", "labs"]))
            cursor.execute("UPDATE cai_connectors SET source = %s WHERE id = %s", (wider, connector))
        summary = platform.run(connector)
        assert summary.rows == {"record": 40}
        assert "(forms changed)" in summary.sentence
        assert not any("dateRangeBegin" in form for form in redcap.forms)
        platform.run(connector)
        assert any("dateRangeBegin" in form for form in redcap.forms)


def test_a_project_that_becomes_longitudinal_has_each_record_once(platform: Platform) -> None:
    redcap = Redcap()
    longitudinal, redcap.records = (
        redcap.records[::2],
        [{key: value for key, value in record.items() if key != "redcap_event_name"} for record in redcap.records[::2]],
    )
    redcap.changed = {id(record): datetime(2024, 1, 1, tzinfo=UTC) for record in (*redcap.records, *longitudinal)}
    with WebServer(redcap) as web:
        connector = platform.add(source(web.url, content=["record"]))
        assert platform.run(connector).rows == {"record": 20}
        redcap.records = longitudinal
        redcap.change(3, datetime.now(UTC), weight="99")
        assert "was read anew as a whole" in platform.run(connector).sentence
        redcap.change(4, datetime.now(UTC), weight="98")
        platform.run(connector)
    found = platform.duck(
        "SELECT count(*), count(DISTINCT study_id), count(*) FILTER (redcap_event_name = 'baseline_arm_1'), "
        f"count(*) FILTER (weight IN ('98', '99')) FROM connector_{connector}.record"
    )
    assert found == [(20, 20, 20, 2)]


def repeating(record: dict[str, str], instrument: str = "", instance: Any = "", **values: str) -> dict[str, Any]:
    """A record as REDCap has it in a project in which something repeats."""
    return {**record, "redcap_repeat_instrument": instrument, "redcap_repeat_instance": instance, **values}


@pytest.mark.parametrize("some_repeat", [False, True], ids=["nothing repeated", "another event repeated"])
@pytest.mark.parametrize("what", ["the event", "an instrument"])
def test_a_project_that_begins_to_repeat_has_each_record_once(platform: Platform, what: str, some_repeat: bool) -> None:
    redcap = Redcap()
    first = [
        repeating(record, instance=1 if "week" in record["redcap_event_name"] else "") for record in redcap.records
    ]
    if some_repeat:
        redcap.records = first
    if what == "the event":
        later = [repeating(record, instance=1) for record in redcap.records]
    else:
        labs = [repeating(record, "labs", 1) for record in redcap.records if "base" in record["redcap_event_name"]]
        later = [record for record in first if "week" in record["redcap_event_name"]] + labs
    redcap.changed = {id(record): datetime(2024, 1, 1, tzinfo=UTC) for record in (*redcap.records, *later)}
    with WebServer(redcap) as web:
        connector = platform.add(source(web.url, content=["record"]))
        assert platform.run(connector).rows == {"record": 40}
        redcap.records = later
        redcap.change(-2, datetime.now(UTC), weight="99")
        summary = platform.run(connector)
        assert summary.rows == {"record": 40}
        assert "was read anew as a whole" in summary.sentence
        redcap.change(-2, datetime.now(UTC), weight="98")
        summary = platform.run(connector)
        assert (summary.rows, summary.remarks) == ({"record": 2}, ())
    counted = "count(*), count(DISTINCT (study_id, redcap_event_name)), count(*) FILTER (weight = '98')"
    found = platform.duck(f"SELECT {counted} FROM connector_{connector}.record")
    assert found == [(40, 40, 1)]


def test_new_rows_of_what_repeats_already_are_no_other_setup(platform: Platform) -> None:
    redcap = Redcap()
    redcap.records = [repeating(record) for record in redcap.records[:2]]
    redcap.records += [repeating(redcap.records[0], "labs", 1), repeating(redcap.records[1], "vitals", 1)]
    redcap.changed = {id(record): datetime(2024, 1, 1, tzinfo=UTC) for record in redcap.records}
    with WebServer(redcap) as web:
        connector = platform.add(source(web.url, content=["record"]))
        assert platform.run(connector).rows == {"record": 4}
        redcap.records.append(repeating(redcap.records[0], "labs", 2))
        redcap.change(4, datetime.now(UTC))
        redcap.change(1, datetime.now(UTC))
        summary = platform.run(connector)
    assert (summary.rows, summary.remarks) == ({"record": 5}, ())


def asked(answer: Any, **form: str) -> tuple[list[Any], list[str]]:
    """What one request brings, and the remarks."""
    context = Context(Secrets(), rehearsal=True)
    with WebServer(lambda asked: answer) as web:
        client = source_client(web.url + "/api/", {}, None, context, FIELDS)
        return Project(client, TOKEN).ask("record", **form), list(context.remarks)


def test_raw_control_characters_in_notes_are_read_as_they_are() -> None:
    rows, remarks = asked(Answer(b'[{"study_id": "1", "notes": "fell\r\nout\tof\x0bbed"}]'))
    assert (rows, remarks) == ([{"study_id": "1", "notes": "fell\r\nout\tof\x0bbed"}], [])


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (Answer(b"<!DOCTYPE html><h1>REDCap is offline for maintenance</h1>"), TransientError, "being maintained"),
        (Answer(b"<b>Fatal error</b>: Allowed memory size of 99 bytes exhausted"), TransientError, "source.forms"),
        (Answer(b"<html>canary"), ConfigurationError, "a web page: check source.api_url"),
        (Answer(b""), TransientError, "is empty"),
        (Answer({"error": "The database server is temporarily unavailable, canary"}), TransientError, "It says: "),
        (
            Answer({"error": "The following values in the parameter \"forms\" are not valid: 'labs', 'canary'"}, 400),
            ConfigurationError,
            "It says: The following values in the parameter forms are not valid: labs",
        ),
        (Answer({"error": f"You do not have permissions to use the API: {TOKEN}"}, 403), ConfigurationError, "the API"),
        (Answer({}, 503), TransientError, "overloaded or down"),
    ],
)
def test_what_redcap_says_is_shown_without_the_token_or_a_patient(
    monkeypatch: pytest.MonkeyPatch, answer: Answer, kind: type[RunError], words: str
) -> None:
    monkeypatch.setattr(waiting, "FIRST_WAIT", 0.001)
    with pytest.raises(kind) as caught:
        asked(answer, **{"forms[0]": "labs"})
    assert words in str(caught.value)
    assert "canary" not in str(caught.value)
    assert TOKEN not in str(caught.value)


def test_a_redirect_that_would_lose_the_request_names_the_address_to_set() -> None:
    with pytest.raises(ConfigurationError, match=r"set source\.api_url to that address"):
        asked(Answer({}, 301, {"Location": "/redcap/api/"}))


def test_both_spellings_of_the_address_are_read_and_the_right_one_is_told() -> None:
    redcap = Redcap()

    def answer(asked: Asked) -> Any:
        return redcap(asked) if asked.path == "/api/" else Answer({}, 301, {"Location": "/api/"})

    context = Context(Secrets(), rehearsal=True)
    with WebServer(answer) as web:
        project = Project(source_client(web.url + "/api", {}, None, context, FIELDS), TOKEN)
        assert project.ask("metadata") == METADATA
        assert project.ask("metadata") == METADATA
        assert [asked.path for asked in web.asked] == ["/api", "/api/", "/api/"]
    assert list(context.remarks) == [
        "source.api_url is not where the API is: the server sends each request on to "
        f"{web.url}/api/, where it was sent once more. Set source.api_url to that address."
    ]


@pytest.mark.parametrize("rows", [["canary"], [1], [[]]])
def test_a_list_of_anything_but_rows_is_told(platform: Platform, rows: list[Any]) -> None:
    redcap = Redcap()
    redcap.records = []
    with WebServer(lambda asked: rows if b"content=record" in asked.body else redcap(asked)) as web:
        connector = platform.add(source(web.url, content=["record"]))
        with pytest.raises(ConfigurationError, match="with a list of rows") as refused:
            platform.run(connector)
    assert "canary" not in str(refused.value)
