"""Webhooks after loads: to a real receiver, signed, until it has taken them; never elsewhere, and no load is harmed."""

import base64
import hmac
import json
import logging

import pytest
from pydantic import SecretStr

from connectors.people import NameableSecrets
from database.control.notices import Whom
from database.store import Store
from deployments import follow_ups
from deployments.outgoing import Post
from pipelines.telling import carriers_of
from prefect_api.event_feed import Events
from prefect_api.run_queries import NoPrefect
from settings import Settings
from tests.support.api_rig import CONNECTORS, assert_problem, client, create
from tests.support.control_plane.ended_loads import Rows, fence
from tests.support.servers.listener import Handler, HttpListener

KEY = bytes(range(32))
SECRET = f"whsec_{base64.b64encode(KEY).decode()}"


class Receiver(HttpListener):
    """Answers with the given statuses, one after the other, and then with 204; keeps what it was sent."""

    def __init__(self, *statuses: int) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        got, left = self.got, list(statuses)

        class Receiving(Handler):
            def _receive(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                got.append(({name.lower(): value for name, value in self.headers.items()}, body))
                self.send_response(left.pop(0) if left else 204)
                self.send_header("Location", "/elsewhere")
                self.end_headers()

            do_POST = _receive  # noqa: N815

        super().__init__(Receiving)


class Outbox:
    """What the leader does each second, with what it has told Prefect."""

    def __init__(self, store: Store, url: str, **settings: object) -> None:
        self.events = Events("clinic")
        values = {"database_url": SecretStr(url), "credentials": NameableSecrets.OPEN, "instance": "clinic"}
        self._store, self._settings = store, Settings(**{**values, **settings})  # type: ignore[arg-type]

    async def turn(self) -> None:
        post = Post(self._store.engine, fence, self.events, carriers_of(self._settings))
        await follow_ups.turn(post, NoPrefect(), [], Whom({}, 3))
        await post.turn()
        await post.settled()

    def told(self) -> list[tuple[str, str]]:
        return [(each["event"], each["payload"]["message"]) for each in self.events._waiting]


@pytest.fixture
def rows(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Rows:
    monkeypatch.setenv("CAI_SECRET_HOOK", SECRET)
    return Rows(database_url)


def hook(url: str) -> str:
    return json.dumps([{"webhook": url, "secret": {"env": "CAI_SECRET_HOOK"}}])


async def test_a_webhook_is_signed_and_sent_again_under_its_id_until_it_is_taken(
    store: Store, rows: Rows, caplog: pytest.LogCaptureFixture
) -> None:
    outbox = Outbox(store, rows.url)
    with Receiver(500) as receiver, caplog.at_level(logging.DEBUG):
        number = await rows.add("labs", hook(f"{receiver.address}/hooks/1"))
        await rows.load(number)
        await outbox.turn()
        (row,) = await rows.sql("SELECT tries, problem, started_at, next_try_at > now() AS later FROM cai_follow_ups")
        assert tuple(row) == (1, "The webhook at 127.0.0.1 answered 500.", None, True)
        await outbox.turn()
        assert len(receiver.got) == 1, "it is not due before its time"
        await rows.sql("UPDATE cai_follow_ups SET next_try_at = now()")
        await outbox.turn()
        await outbox.turn()
    (row,) = await rows.sql("SELECT problem, error, started_at IS NOT NULL AS delivered FROM cai_follow_ups")
    assert tuple(row) == (None, None, True)
    assert outbox.told() == [("connector.follow-up.failing", "The webhook at 127.0.0.1 answered 500.")]
    (first, body), (second, again) = receiver.got
    assert (first["webhook-id"], body) == (second["webhook-id"], again)
    for headers in (first, second):
        content = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        expected = base64.b64encode(hmac.digest(KEY, content, "sha256")).decode()
        assert headers["webhook-signature"] == f"v1,{expected}"
    said = json.loads(body)
    assert (said["type"], said["data"]["instance"]) == ("connector.loaded", "clinic")
    assert said["data"]["connector"] == {"id": number, "name": "labs"}
    (load,) = await rows.sql("SELECT id, outcome FROM cai_loads")
    assert (said["data"]["load"]["id"], said["data"]["load"]["tables"]) == (load["id"], [])
    assert load["outcome"] == "completed"
    table = await rows.sql("SELECT f::text FROM cai_follow_ups f")
    assert SECRET.removeprefix("whsec_") not in caplog.text + str(table) + str([*outbox.events._waiting])


@pytest.mark.parametrize(
    ("status", "final", "sentence"),
    [
        (307, False, "The webhook at 127.0.0.1 answered 307, a redirect, which is not followed: name the address"),
        (410, True, "The webhook at 127.0.0.1 answered 410."),
    ],
)
async def test_a_redirect_is_not_followed_and_who_wants_no_more_gets_no_more(
    store: Store, rows: Rows, status: int, final: bool, sentence: str
) -> None:
    outbox = Outbox(store, rows.url)
    with Receiver(status) as receiver:
        await rows.load(await rows.add("labs", hook(receiver.address)))
        await outbox.turn()
        assert len(receiver.got) == 1
    (row,) = await rows.sql("SELECT problem, error FROM cai_follow_ups")
    assert row["error" if final else "problem"].startswith(sentence)
    assert row["problem" if final else "error"] is None
    assert [event for event, _ in outbox.told()] == [f"connector.follow-up.{'failed' if final else 'failing'}"]


async def test_after_a_day_it_is_given_up_and_told(store: Store, rows: Rows) -> None:
    outbox = Outbox(store, rows.url)
    with Receiver(500, 500) as receiver:
        await rows.load(await rows.add("labs", hook(receiver.address)))
        await outbox.turn()
        await rows.sql(
            "UPDATE cai_follow_ups SET next_try_at = now(), loaded_at = now() - interval '24 hours', tries = 9"
        )
        await outbox.turn()
    (row,) = await rows.sql("SELECT error, problem FROM cai_follow_ups")
    assert tuple(row) == ("The webhook at 127.0.0.1 answered 500.", None)
    assert [event for event, _ in outbox.told()] == ["connector.follow-up.failing", "connector.follow-up.failed"]


async def test_nothing_is_sent_to_a_denied_host_nor_with_a_secret_of_others(store: Store, rows: Rows) -> None:
    with Receiver() as receiver:
        await rows.load(await rows.add("labs", hook(receiver.address)))
        await Outbox(store, rows.url, denied_hosts=["127.0.0.0/8"]).turn()
        (row,) = await rows.sql("SELECT problem FROM cai_follow_ups")
        assert "is one that no connector may reach here" in row["problem"]
        await rows.sql("UPDATE cai_follow_ups SET next_try_at = now()")
        await Outbox(store, rows.url, credentials=NameableSecrets.REGISTERED).turn()
        (row,) = await rows.sql("SELECT problem FROM cai_follow_ups")
        assert "CAI_SECRET_HOOK, which is no credential of this connector's team" in row["problem"]
        await rows.sql(
            "INSERT INTO cai_credentials (name, kind, reference, hosts, created_by) "
            "VALUES ('hook', 'env', 'CAI_SECRET_HOOK', '{hooks.example.org}', 'ops')"
        )
        await rows.sql("UPDATE cai_follow_ups SET next_try_at = now()")
        await Outbox(store, rows.url).turn()
        (row,) = await rows.sql("SELECT problem FROM cai_follow_ups")
        assert "which may be sent to hooks.example.org alone" in row["problem"]
    assert receiver.got == []


async def test_a_receiver_that_fails_holds_up_no_other(store: Store, rows: Rows) -> None:
    with Receiver(500) as failing, Receiver() as taking:
        await rows.load(await rows.add("labs", hook(failing.address)))
        await rows.load(await rows.add("visits", hook(taking.address)))
        await Outbox(store, rows.url).turn()
        assert (len(failing.got), len(taking.got)) == (1, 1)


async def test_a_connector_that_is_gone_sends_nothing_any_more(store: Store, rows: Rows) -> None:
    with Receiver(500) as receiver:
        labs = await rows.add("labs", hook(receiver.address))
        await rows.load(labs)
        await Outbox(store, rows.url).turn()
        await rows.sql("DELETE FROM cai_connectors WHERE id = $1", labs)
        await rows.sql("UPDATE cai_follow_ups SET next_try_at = now()")
        await Outbox(store, rows.url).turn()
        assert len(receiver.got) == 1
    (row,) = await rows.sql("SELECT error FROM cai_follow_ups")
    assert row["error"] == "The connector that it follows is gone."


async def test_what_is_saved_names_a_secret_and_never_is_one(database_url: str) -> None:
    async with client(database_url) as api:
        labs = await create(api, name="labs")
        place = f"{CONNECTORS}/{labs['id']}"

        async def refused(pointer: str, **hook: object) -> str:
            body = {"runPolicy": {"then": [{"webhook": "https://hooks.example.org/a", **hook}]}}
            problem = assert_problem(await api.patch(place, json=body), 422, f"/runPolicy/then/0/{pointer}")
            return str(problem["errors"][0]["detail"])

        assert "signed with" in await refused("secret")
        assert "never the value itself" in await refused("secret", secret=SECRET)
        assert "must not hold a user or password" in await refused(
            "webhook", webhook="https://a:b@h.example.org", secret={"secret": "hook"}
        )
        body = {"runPolicy": {"then": [{"webhook": "https://hooks.example.org/a", "secret": {"secret": "hook"}}]}}
        assert (await api.patch(place, json=body)).status_code == 200
