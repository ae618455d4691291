"""A table an instrument: what lands of a project, with types, and how it goes on."""

import json
from collections import Counter
from datetime import UTC, date, datetime
from typing import Any

import pytest

from pipelines.errors import ConfigurationError
from tests.support.data_plane.platform import Platform
from tests.support.servers.http_server import WebServer
from tests.support.servers.redcap import TOKEN
from tests.support.servers.redcap_project import MadeProject, made

KEY = ("study_id", "redcap_event_name", "redcap_repeat_instrument", "redcap_repeat_instance")


def source(url: str, **keys: Any) -> dict[str, Any]:
    token = {"env": "CAI_SECRET_REDCAP"}
    return {"type": "redcap", "api_url": url + "/api/", "token": token, "layout": "by_instrument", **keys}


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAI_SECRET_REDCAP", TOKEN)


def rows_of(platform: Platform, connector: int, table: str) -> list[dict[str, Any]]:
    """The rows of a table, each column as text but for those of dlt."""
    names = [
        name
        for (name,) in platform.duck(
            "SELECT column_name FROM information_schema.columns "
            f"WHERE table_schema = 'connector_{connector}' AND table_name = '{table}' "
            "AND NOT starts_with(column_name, '_dlt')"
        )
    ]
    found = platform.duck(f"SELECT {', '.join(names)} FROM connector_{connector}.{table}")
    return [dict(zip(names, row, strict=True)) for row in found]


def visits() -> MadeProject:
    """A longitudinal project with what repeats, of known types."""
    project = MadeProject(
        [
            {"field_name": "study_id", "form_name": "base", "field_type": "text"},
            {"field_name": "born", "form_name": "base", "field_type": "text",
             "text_validation_type_or_show_slider_number": "date_dmy"},
            {"field_name": "sex", "form_name": "base", "field_type": "radio",
             "select_choices_or_calculations": "1, Female | 2, Male"},
            {"field_name": "weight", "form_name": "vitals", "field_type": "text",
             "text_validation_type_or_show_slider_number": "number"},
            {"field_name": "seen", "form_name": "vitals", "field_type": "text",
             "text_validation_type_or_show_slider_number": "datetime_ymd"},
            {"field_name": "count", "form_name": "labs", "field_type": "text",
             "text_validation_type_or_show_slider_number": "integer"},
        ],
        events={"base_arm_1": {"base", "vitals", "labs"}, "week_arm_1": {"vitals"}},
        repeating={("base_arm_1", "labs"), ("week_arm_1", "")},
        missing="UNK, Unknown",
    )  # fmt: skip
    project.cells = {
        ("1", "base_arm_1", "", ""): {"born": "1950-01-31", "sex": "1", "weight": "7.40", "seen": "2024-01-31 08:00"},
        ("1", "base_arm_1", "labs", "1"): {"count": "12"},
        ("1", "base_arm_1", "labs", "2"): {"count": "0042"},
        ("1", "week_arm_1", "", "1"): {"weight": "UNK"},
        ("2", "base_arm_1", "", ""): {"born": "1960-02-01", "sex": "02", "weight": "80.5"},
    }
    project.note("1", at=datetime(2024, 1, 1, tzinfo=UTC))
    project.note("2", at=datetime(2024, 1, 1, tzinfo=UTC))
    return project


def test_each_instrument_is_a_table_with_types_and_keys(platform: Platform) -> None:
    project = visits()
    project.groups = {"1": "berlin"}
    with WebServer(project) as web:
        connector = platform.add(source(web.url, labels=True, access_groups=True))
        summary = platform.run(connector)
    assert summary.rows == {"record": 5, "metadata": 6, "base": 2, "vitals": 3, "labs": 2}
    base = {row["study_id"]: row for row in rows_of(platform, connector, "base")}
    assert (base["1"]["born"], base["1"]["sex"], base["1"]["sex_label"]) == (date(1950, 1, 31), "1", "Female")
    assert (base["2"]["sex"], base["2"]["sex_label"], base["1"]["redcap_data_access_group"]) == ("02", None, "berlin")
    vitals = {tuple(row[name] for name in KEY): row for row in rows_of(platform, connector, "vitals")}
    assert vitals["1", "base_arm_1", "", ""]["weight"] == 7.4
    assert vitals["1", "base_arm_1", "", ""]["weight__v_text"] == "7.40"
    assert vitals["1", "base_arm_1", "", ""]["seen"].astimezone(UTC) == datetime(2024, 1, 31, 8, tzinfo=UTC)
    assert vitals["1", "week_arm_1", "", "1"]["weight_missing"] == "UNK"
    labs = {row["redcap_repeat_instance"]: row for row in rows_of(platform, connector, "labs")}
    assert (labs["1"]["count"], labs["2"]["count"], labs["2"]["count__v_text"]) == (12, None, "0042")


def test_only_changes_come_again_and_one_table_brings_all(platform: Platform) -> None:
    project = visits()
    with WebServer(project) as web:
        connector = platform.add(source(web.url, content=["record"]))
        platform.run(connector)
        project.cells["2", "base_arm_1", "", ""]["weight"] = "81.5"
        project.note("2")
        assert platform.run(connector, tables=("vitals",)).rows == {"record": 1, "base": 1, "vitals": 1}
        project.cells["1", "week_arm_1", "", "2"] = {"weight": "70.5"}
        project.note("1")
        assert platform.run(connector).rows["vitals"] == 4
        assert platform.run(connector, row_limit=1).rows == {"record": 4 + 1, "base": 1, "vitals": 3, "labs": 2}
    assert platform.duck(f"SELECT count(*), max(weight) FROM connector_{connector}.vitals") == [(4, 81.5)]


def test_a_project_that_begins_to_repeat_replaces_all_tables(platform: Platform) -> None:
    project = visits()
    project.repeating.discard(("base_arm_1", "labs"))
    project.cells = {place: cells for place, cells in project.cells.items() if place[2] != "labs"}
    project.cells["1", "base_arm_1", "", ""]["count"] = "12"
    with WebServer(project) as web:
        connector = platform.add(source(web.url, content=["record"]))
        assert platform.run(connector).rows["labs"] == 2
        project.repeating.add(("base_arm_1", "labs"))
        project.cells["1", "base_arm_1", "labs", "1"] = {"count": project.cells["1", "base_arm_1", "", ""].pop("count")}
        project.note("1")
        summary = platform.run(connector)
        assert "was read anew as a whole" in summary.sentence
    assert [row["redcap_repeat_instance"] for row in rows_of(platform, connector, "labs")] == ["1"]
    assert len(rows_of(platform, connector, "vitals")) == 3


def test_only_what_is_chosen_is_asked_for_and_lands(platform: Platform) -> None:
    project = visits()
    chosen = {
        "events": ["base_arm_1"],
        "fields": ["sex", "weight"],
        "filter_logic": "[sex] = '1'",
        "survey_fields": True,
        "report": 12,
        "content": ["record"],
    }
    with WebServer(project) as web:
        connector = platform.add(source(web.url, **chosen))
        summary = platform.run(connector)
        assert summary.rows == {"record": 3, "base": 1, "vitals": 1, "report_12": 5}
        (base,) = rows_of(platform, connector, "base")
        assert (base["study_id"], base["sex"], "born" in base) == ("1", "1", False)
        assert base["base_timestamp"].astimezone(UTC) == datetime(2024, 1, 31, 8, tzinfo=UTC)
        with platform.connection.cursor() as cursor:
            wider = json.dumps(source(web.url, **{**chosen, "filter_logic": None}))
            cursor.execute("UPDATE cai_connectors SET source = %s WHERE id = %s", (wider, connector))
        assert "(filter_logic changed)" in platform.run(connector).sentence
    assert len(rows_of(platform, connector, "base")) == 2


def test_checks_of_a_table_that_the_project_has_not_are_refused(platform: Platform) -> None:
    with WebServer(visits()) as web:
        connector = platform.add(source(web.url, checks={"vitals": {"min_rows": 1}, "viitals": {"min_rows": 1}}))
        with pytest.raises(ConfigurationError, match="names 'viitals', which is no table"):
            platform.run(connector)


@pytest.mark.parametrize("seed", [1, 2, 3, 5, 8, 13])
def test_every_cell_of_a_made_project_lands_once(platform: Platform, seed: int) -> None:
    project = made(seed)
    project.missing = ""
    with WebServer(project) as web:
        connector = platform.add(source(web.url, content=["record"], batch_size=3))
        summary = platform.run(connector)
    landed: Counter[tuple[Any, ...]] = Counter()
    for table in summary.rows:
        for row in rows_of(platform, connector, table):
            for name, value in row.items():
                column, _, beside = name.partition("__v_")
                if name in KEY or value is None or (not beside and row.get(f"{name}__v_text") is not None):
                    continue
                landed[(*(row[each] for each in KEY), column, text_of(value))] += 1
    exported = Counter(
        (*(str(row.get(each, "")) for each in KEY), name.replace("____", "_").replace("___", "_"), text_of(value))
        for row in project.flat()
        for name, value in row.items()
        if name not in KEY and value != ""
    )
    assert landed == exported


def text_of(value: Any) -> str:
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M}"
    return json.dumps(value) if isinstance(value, float) and not value.is_integer() else str(value).removesuffix(".0")
