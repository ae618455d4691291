"""Pages of the fleet: all connectors, worst first, in texts that only something that happened changes."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import orjson

from connectors.freshness import Freshness, Promise, judge
from connectors.judging.standing import Standing
from connectors.loads import Load, Outcome
from connectors.status import Phase, Reason
from deployments.monitoring.fleet_pages import MOST_ROWS, entry, fleet, page
from prefect_api.names import is_fleet_page

NOW = datetime(2026, 11, 24, 12, 30, tzinfo=UTC)
LABS = Standing(
    7,
    "Labs",
    description="From the *central* lab.",
    schedule="0 */4 * * *",
    is_active=True,
    source_type="files",
    phase=Phase.SYNCED,
    reason=Reason.IN_SYNC,
    message="Runs every 4 hours.",
    deployment_id=UUID(int=5),
    load=Load(
        7,
        outcome=Outcome.COMPLETED,
        message="Loaded 12 rows.",
        rows=12,
        started_at=NOW - timedelta(minutes=29),
        ended_at=NOW - timedelta(minutes=28),
        last_success_at=NOW - timedelta(minutes=28),
    ),
    promise=Promise(7, "0 */4 * * *", "UTC", NOW - timedelta(days=9)),
)


def test_a_row_says_how_a_connector_stands() -> None:
    assert entry(LABS, judge(LABS.facts, NOW)).row == {
        "connector": "Labs (7)",
        "phase": "synced",
        "schedule": "every 4 hours, at minute 0 (UTC)",
        "last run": "2026-11-24 12:02",
        "rows": 12,
        "freshness": "on time",
        "load due": "2026-11-24 16:00",
        "link": f"[runs](/deployments/deployment/{UUID(int=5)}) [more](/artifacts/key/connector-7)",
    }


def test_a_page_says_the_same_in_prose() -> None:
    shown = page(LABS, judge(LABS.facts, NOW), "managed-by:x")
    assert shown.data == "\n".join(
        [
            "# Labs",
            "",
            r"From the \*central\* lab.",
            "",
            "Connector 7 loads from `files` into the platform's destination, dataset `connector_7`.",
            "",
            "- **Schedule:** every 4 hours, at minute 0 (UTC)",
            "- **Phase:** synced. Runs every 4 hours.",
            "- **Freshness:** on time.",
            "- **Last run:** completed at 2026-11-24 12:02 UTC. Loaded 12 rows.",
            "- **Loads due:** 2026-11-24 16:00 UTC, 2026-11-24 20:00 UTC, 2026-11-25 00:00 UTC",
            "",
            f"[Its deployment and runs](/deployments/deployment/{UUID(int=5)}) · "
            "[The whole fleet](/artifacts/key/connector-fleet)",
        ]
    )
    assert shown.description == "Labs: on time. (managed-by:x)"


def test_time_alone_changes_nothing_until_it_makes_a_connector_late() -> None:
    texts = {
        (page(LABS, judged, "x"), orjson.dumps(entry(LABS, judged).row))
        for hours in range(200)
        for judged in [judge(LABS.facts, NOW + timedelta(minutes=10 * hours))]
    }
    assert len(texts) == 3  # on time, late, overdue


def test_what_users_and_errors_write_is_shown_and_does_nothing() -> None:
    odd = replace(LABS, name="[x](javascript:alert(1)) <b>\n# y|z", deployment_id=None, load=None, phase=None)
    shown = entry(odd, judge(odd.facts, NOW)).row
    assert shown["connector"] == r"\[x\](javascript:alert(1)) \<b\> \# y\|z (7)"
    assert (shown["phase"], shown["last run"], shown["rows"]) == ("pending", "", None)
    assert shown["link"] == "[more](/artifacts/key/connector-7)"
    paused = replace(LABS, is_active=False)
    assert entry(paused, judge(paused.facts, NOW)).row["schedule"] == "every 4 hours, at minute 0 (UTC)"
    assert LABS.load is not None
    failed = replace(LABS, load=replace(LABS.load, outcome=Outcome.FAILED, failures=1))
    assert entry(failed, judge(failed.facts, NOW)).row["last run"] == "2026-11-24 12:02, failed"
    wrong = replace(LABS, schedule="61 * * * *", phase=Phase.INVALID)
    assert entry(wrong, judge(wrong.facts, NOW)).row["schedule"] == r"61 \* \* \* \*"


def test_the_worst_come_first_and_the_summary_counts_all() -> None:
    late = replace(LABS, connector_id=9, load=None)
    entries = [entry(each, judge(each.facts, NOW)) for each in (LABS, late)]
    shown = fleet(entries, "managed-by:x")
    assert [row["freshness"] for row in orjson.loads(shown.data)] == [Freshness.OVERDUE, Freshness.ON_TIME]
    assert shown.description == "2 connectors: 1 overdue, 1 on time. Times are in UTC. (managed-by:x)"
    many = fleet([replace(entries[0], connector_id=number) for number in range(MOST_ROWS + 1)], "x")
    assert len(orjson.loads(many.data)) == MOST_ROWS
    assert "1001 connectors" in many.description
    assert "first 1000" in many.description
    assert fleet([], "x").description == "No connectors. (x)"


def test_only_our_keys_are_ours() -> None:
    keys = ("connector-fleet", "connector-7", "connector-x", "my-connector-7", "connector-7-x")
    assert [is_fleet_page(key) for key in keys] == [True, True, False, False, False]
