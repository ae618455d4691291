"""Notices of connectors: each trouble and each end goes out once to each address, by a block or by an Apprise URL."""

import json
import logging
from ipaddress import ip_network
from typing import Any
from uuid import uuid4

import pytest
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from pydantic import SecretStr

from connectors.loads import Outcome
from connectors.people import NameableSecrets
from connectors.telling.notices import News
from database.control import notices
from database.control.notices import OneNews, Whom
from database.store import Store
from deployments import follow_ups
from deployments.outgoing import Post
from pipelines.access.denied_hosts import DeniedHosts
from pipelines.errors import RunError
from pipelines.telling import carriers_of
from pipelines.telling.notices import _by_url
from prefect_api.event_feed import Events
from prefect_api.run_queries import NoPrefect
from settings import Settings
from tests.support.control_plane.ended_loads import Rows, fence
from tests.support.servers.prefect_server import PrefectServer
from tests.support.servers.webhook import Webhook

OWNERS = {"alice": "custom-webhook/alice"}


@pytest.fixture
def rows(database_url: str) -> Rows:
    return Rows(database_url)


async def send(store: Store, rows: Rows, whom: Whom | None = None) -> None:
    """What the leader does each second, until nothing is due."""
    values: dict[str, Any] = {"database_url": SecretStr(rows.url), "credentials": NameableSecrets.OPEN}
    settings = Settings(**values, instance="clinic", owner_blocks=OWNERS)
    post = Post(store.engine, fence, Events("clinic"), carriers_of(settings))
    await follow_ups.turn(post, NoPrefect(), [], whom or Whom({}, 2))
    for _ in range(3):
        await post.turn()
        await post.settled()


async def tells(rows: Rows, number: int, *of: str) -> None:
    policy = json.dumps({"notify": [{"to": {"env": "CAI_SECRET_CHAT"}, **({"of": of} if of else {})}]})
    await rows.sql("UPDATE cai_connectors SET run_policy = $2::jsonb WHERE id = $1", number, policy)


async def test_a_trouble_and_its_end_are_told_once_each_and_no_address_is_logged(
    store: Store, rows: Rows, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    labs = await rows.add("labs")
    await tells(rows, labs, "failed", "recovered", "first_success")
    with Webhook() as chat, caplog.at_level(logging.DEBUG):
        monkeypatch.setenv("CAI_SECRET_CHAT", chat.url.get_secret_value())
        outcomes = [Outcome.COMPLETED, *[Outcome.FAILED] * 4, Outcome.COMPLETED, Outcome.COMPLETED, Outcome.FAILED]
        for outcome in outcomes:
            await rows.load(labs, outcome)
            await send(store, rows)
    query = "SELECT said ->> 'what' AS what, started_at IS NOT NULL AS sent FROM cai_follow_ups ORDER BY id"
    found = [tuple(row) for row in await rows.sql(query)]
    assert found == [("first_success", True), ("failed", True), ("recovered", True)]
    assert len(chat.said) == 3
    assert "s3cret" not in caplog.text + str(await rows.sql("SELECT f::text FROM cai_follow_ups f"))


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("json://localhost:1/hook", "localhost"),
        ("gotify://LOCALHOST./token", "LOCALHOST"),
        ("xml://[::1]:1/", "::1"),
        ("mailto://user:s3cret@example.org?smtp=localhost&to=a@example.org", "localhost"),
        ("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ", None),
    ],
)
def test_no_denied_host_is_sent_to_however_its_name_is_written(
    url: str, host: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apprise.Apprise.notify", lambda *_, **__: True)
    loopback = DeniedHosts((ip_network("127.0.0.0/8"), ip_network("::1")))
    if host is None:  # a token, and no name
        monkeypatch.setattr(DeniedHosts, "check", None)
        _by_url(url, "subject", "message", loopback)
        return
    with pytest.raises(RunError, match=f"The host {host} is one that no connector may reach"):
        _by_url(url, "subject", "message", loopback)


async def test_what_changed_at_the_source_is_told_and_nothing_that_nobody_asked_for(store: Store, rows: Rows) -> None:
    labs = await rows.add("labs")
    await tells(rows, labs, "shape_changed")
    await rows.load(labs)
    await rows.sql(
        "INSERT INTO cai_schema_changes (connector_id, table_name, column_name, kind, state, first_seen_at) "
        "SELECT connector_id, 'visits', 'ward', 'new', 'applied', ended_at FROM cai_loads"
    )
    await send(store, rows)
    query = "SELECT follower, said ->> 'message' AS said, problem FROM cai_follow_ups"
    ((follower, said, problem),) = [tuple(row) for row in await rows.sql(query)]
    assert (follower, said) == (
        "notify:env:CAI_SECRET_CHAT#shape_changed",
        "Columns of its source changed: visits.ward.",
    )
    assert "has no variable CAI_SECRET_CHAT" in problem


async def test_lateness_is_noted_once_however_often_it_is_found(store: Store, rows: Rows) -> None:
    labs = await rows.add("labs")
    await tells(rows, labs)
    news = OneNews(uuid4(), labs, News.LATE, "It should have loaded at noon.")
    for _ in range(3):
        await notices.note(store.engine, fence, [news], Whom({}, 3))
    assert len(await rows.sql("SELECT FROM cai_follow_ups")) == 1


async def test_an_owner_is_told_by_his_block_unless_the_connector_says_otherwise(
    store: Store, rows: Rows, prefect_server: PrefectServer
) -> None:
    whom = Whom(OWNERS, 2)
    labs, quiet = await rows.add("labs"), await rows.add("quiet")
    await rows.sql("UPDATE cai_connectors SET owner = 'alice'")
    await rows.sql("UPDATE cai_connectors SET run_policy = '{\"notify\": []}' WHERE id = $1", quiet)
    with Webhook() as chat:
        address = f"http://127.0.0.1:{chat.port}/"
        block = CustomWebhookNotificationBlock(name="alice", url=address, json_data={"message": "{{subject}}|{{body}}"})
        await block.asave("alice", overwrite=True)
        for number in (labs, labs, quiet, quiet):
            await rows.load(number, Outcome.FAILED)
        await send(store, rows, whom)
        assert [said.partition("|")[0] for said in chat.said] == ["[clinic] labs: failed"]
