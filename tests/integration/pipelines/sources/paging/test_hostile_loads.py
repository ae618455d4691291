"""Loads from a server that does what real ones do wrong, twice in a row: the table holds the newest of each row.

Rows come in two versions on two pages, late, changed within one value of their cursor, under keys that no double
holds and names that become one; pages, addresses and broken answers are as hostile as in `test_hostile_http`.
Each pair costs three seconds of one core.
"""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from pipelines.errors import ConfigurationError, RunError, TransientError
from pipelines.sources.http import waiting
from tests.support.data_plane.platform import Platform
from tests.support.servers.hostile_http import Address, Api, Fault, HostileServer, Paging, Total, Writing

BEGINNING = datetime(2024, 1, 1, tzinfo=UTC)
FORMATS = ["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S.%f+00:00", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d"]
NAMES = [("note", "note_2"), ("pain_1", "pain___1"), ("ID", "userId"), ("боль", "рост"), ("CD4+", "CD4-")]
KEYS = [0, 123456789012345678901, 2**63]

APIS = st.builds(
    Api,
    size=st.sampled_from([3, 10]),
    cap=st.sampled_from([3, 1000]),
    paging=st.sampled_from([Paging.LINK, Paging.ODATA, Paging.LIST, Paging.HEADER, Paging.TOKEN, Paging.CURSOR]),
    address=st.sampled_from(Address),
    total=st.sampled_from(Total),
    writing=st.sampled_from([Writing.PLAIN, Writing.BOM, Writing.UTF16]),
    empty_pages=st.sampled_from([0, 2]),
    fault=st.sampled_from(
        [None, Fault.CUT_CHUNK, Fault.EMPTY, Fault.HTML, Fault.LIMITED, Fault.ERROR, Fault.UNSUCCESSFUL]
    ),
    fault_at=st.integers(1, 3),
)


def rows_of(key: int, moment: str, names: tuple[str, str]) -> list[dict[str, Any]]:
    """Eleven rows, a minute or a day apart."""
    step = timedelta(days=1) if moment == "%Y-%m-%d" else timedelta(minutes=1)
    return [
        {
            "id": key + number,
            "at": (BEGINNING + number * step).strftime(moment),
            "value": f"v{number}",
            names[0]: f"a{number}",
            names[1]: f"b{number}",
        }
        for number in range(11)
    ]


def load(platform: Platform, connector: int, server: HostileServer, api: Api, rows: list[dict[str, Any]]) -> bool:
    """Whether a load succeeds; if not, it must have said why."""
    server.requests.clear()
    server.api = replace(api, data=tuple(rows), rows=len(rows))
    try:
        platform.run(connector)
    except RunError as error:
        fault = error
    else:
        return True
    assert isinstance(fault, ConfigurationError | TransientError), fault
    assert api.fault is not None, fault
    return False


def landed(platform: Platform, connector: int) -> dict[str, set[str]]:
    """All values of each row, by its key."""
    described = platform.duck(f"DESCRIBE connector_{connector}.visits")
    columns = [name for name, *_ in described if not name.startswith("_dlt")]
    key = next(index for index, name in enumerate(columns) if name == "id")
    found = platform.duck(f"SELECT {', '.join(json.dumps(name) for name in columns)} FROM connector_{connector}.visits")
    return {str(row[key]): {str(value) for value in row if value is not None} for row in found}


def expected(rows: list[dict[str, Any]]) -> dict[str, set[str]]:
    return {str(row["id"]): {str(value) for name, value in row.items() if name not in {"id", "at"}} for row in rows}


def check(platform: Platform, api: Api, key: int, moment: str, names: tuple[str, str]) -> None:
    """Two loads."""
    note(f"{api} key={key} moment={moment} names={names}")
    rows = rows_of(key, moment, names)
    resource = {"name": "visits", "path": "visits", "primary_key": "id", "cursor_path": "at"}
    with HostileServer(api) as server:
        connector = platform.add({"type": "rest_api", "base_url": server.url + "/api", "resources": [resource]})
        # The first row was read, then changed and moved to the end of the order.
        moved = {**rows[0], "at": rows[-1]["at"], "value": "newest"}
        first = load(platform, connector, server, api, [*rows, moved])
        late = {**rows[-2], "id": key + 99, "value": "late"}
        again = {**rows[-1], "value": "evening"}
        second = load(platform, connector, server, replace(api, fault=None), [*rows[1:-1], moved, again, late])
    assert second
    now = landed(platform, connector)
    wanted = expected([*rows[1:-1], moved, again, late])
    assert now.keys() == wanted.keys()
    for number, values in wanted.items():
        assert values <= now[number], f"row {number} lacks {len(values - now[number])} values; first load: {first}"


def combinations(examples: int) -> settings:
    return settings(
        max_examples=examples,
        deadline=None,
        print_blob=True,
        # Each example is two loads: shrinking would take minutes.
        phases=[Phase.explicit, Phase.reuse, Phase.generate],
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "FIRST_WAIT", 0.0005)


@pytest.mark.slow
@combinations(6)
@given(APIS, st.sampled_from(KEYS), st.sampled_from(FORMATS), st.sampled_from(NAMES))
def test_two_loads_from_a_hostile_server_leave_the_newest_of_each_row(
    platform: Platform, api: Api, key: int, moment: str, names: tuple[str, str]
) -> None:
    check(platform, api, key, moment, names)


@pytest.mark.soak
@combinations(300)
@given(APIS, st.sampled_from(KEYS), st.sampled_from(FORMATS), st.sampled_from(NAMES))
def test_many_loads_from_a_hostile_server_leave_the_newest_of_each_row(
    platform: Platform, api: Api, key: int, moment: str, names: tuple[str, str]
) -> None:
    check(platform, api, key, moment, names)
