"""Batches of records: every one that is listed comes once, whatever sizes the server can answer."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import ConfigurationError, TransientError
from pipelines.remarks import Remarks
from pipelines.sources.redcap.asking import Answered, Project, RequestRefusedError
from pipelines.sources.redcap.batches import ANSWER_BYTES, FIRST, Records, Row, Sizes


class Server(Project):
    """A project of so many records, which may fail at some requests."""

    def __init__(self, count: int, fault: Callable[[list[str]], None] = lambda batch: None, width: int = 1) -> None:
        self.there = [f"patient-{number}" for number in range(count)]
        self.fault = fault
        self.width = width
        self.batches: list[list[str]] = []

    def ask(self, content: str, **form: str) -> list[Row]:
        return self._rows(self.there)

    def answer(self, content: str, form: Mapping[str, str], *, hurried: bool = False) -> Answered:
        batch = [value for name, value in form.items() if name.startswith("records[")]
        assert hurried == (len(batch) > 1)
        self.batches.append(batch)
        self.fault(batch)
        rows = self._rows([each for each in batch if each in self.there])
        return Answered(rows, len(json.dumps(rows)) * self.width)

    def _rows(self, ids: list[str]) -> list[Row]:
        return [{"id": each, "redcap_event_name": event} for each in ids for event in ("one", "two")]


def read(server: Server, most: int = 500) -> tuple[list[Row], list[str]]:
    """All rows, and the remarks."""
    remarks = Remarks()
    records = Records(server, "id", {"forms[0]": "labs", "fields[0]": "id"}, most, remarks)
    return [row for batch in records.read(records.ids()) for row in batch], list(remarks)


def all_of(server: Server) -> list[tuple[str, str]]:
    return sorted((each, event) for each in server.there for event in ("one", "two"))


def keys(rows: list[Row]) -> list[tuple[str, str]]:
    return sorted((row["id"], row["redcap_event_name"]) for row in rows)


def no_more_than(most: int, error: type[Exception]) -> Callable[[list[str]], None]:
    def fault(batch: list[str]) -> None:
        if len(batch) > most:
            raise error("too many")

    return fault


@pytest.mark.parametrize("error", [TransientError, RequestRefusedError])
def test_a_server_that_refuses_more_than_500_records_at_once_is_loaded_whole(error: type[Exception]) -> None:
    server = Server(5_000, no_more_than(500, error))
    rows, remarks = read(server, most=4_000)
    assert (keys(rows), remarks) == (all_of(server), [])
    assert len(server.batches) < 40


@given(st.integers(0, 300), st.integers(1, 400), st.integers(1, 60), st.data())
def test_every_record_comes_once_whatever_the_server_can_answer(count: int, most: int, limit: int, data: Any) -> None:
    failures = iter(data.draw(st.lists(st.booleans(), max_size=20)))

    def fault(batch: list[str]) -> None:
        if len(batch) > limit or (len(batch) > 1 and next(failures, False)):
            raise TransientError("too many")

    server = Server(count, fault)
    rows, _ = read(server, most)
    assert keys(rows) == all_of(server)
    assert all(len(batch) <= most for batch in server.batches)


def test_a_record_that_cant_be_had_is_named_by_its_place_and_not_by_its_id() -> None:
    def fault(batch: list[str]) -> None:
        if "patient-77" in batch:
            raise TransientError("The server ran out of memory.")

    with pytest.raises(TransientError, match=r"number 78 of the 100 that its API lists.*ran out of memory") as caught:
        read(Server(100, fault))
    assert "patient" not in str(caught.value)


def test_records_that_go_meanwhile_are_told_and_the_others_come() -> None:
    server = Server(200)

    def fault(batch: list[str]) -> None:
        server.there = [each for each in server.there if each not in {"patient-90", "patient-91"}]

    server.fault = fault
    rows, remarks = read(server)
    assert keys(rows) == all_of(server)
    assert remarks == [
        "Records were deleted or renamed in REDCap, or stopped matching filter_logic, while the project was read: "
        "those did not come."
    ]


def test_a_record_that_is_refused_since_it_is_gone_is_told_as_such() -> None:
    server = Server(60)

    def fault(batch: list[str]) -> None:
        server.there = [each for each in server.there if each != "patient-55"]
        if "patient-55" in batch:
            raise RequestRefusedError("not valid")

    server.fault = fault
    rows, remarks = read(server)
    assert keys(rows) == all_of(server)
    assert len(remarks) == 1


class Cutting(Server):
    """Leaves out what goes beyond so many records, without a word, as PHP does with too many parameters."""

    def answer(self, content: str, form: Mapping[str, str], *, hurried: bool = False) -> Answered:
        found = super().answer(content, form, hurried=hurried)
        return Answered(found.rows[:60], found.size)


def test_records_that_a_server_leaves_out_without_a_word_are_asked_for_again() -> None:
    server = Cutting(500)
    rows, remarks = read(server)
    assert (keys(rows), remarks) == (all_of(server), [])


class Silent(Server):
    """Lists a record and never sends it."""

    def answer(self, content: str, form: Mapping[str, str], *, hurried: bool = False) -> Answered:
        found = super().answer(content, form, hurried=hurried)
        return Answered([row for row in found.rows if row["id"] != "patient-3"], found.size)


def test_a_record_that_is_listed_and_never_sent_fails_the_run() -> None:
    with pytest.raises(TransientError, match="number 4 of the 20 that its API lists, and sends no row of it"):
        read(Silent(20))


class Hashing(Server):
    """Hashes the ids of what it sends, so that nothing can be asked for by them."""

    def answer(self, content: str, form: Mapping[str, str], *, hurried: bool = False) -> Answered:
        self.batches.append([])
        return Answered([], 2)


def test_a_token_that_sees_ids_hashed_gets_all_in_one_request() -> None:
    server = Hashing(500)
    rows, remarks = read(server)
    assert keys(rows) == all_of(server)
    assert len(server.batches) == 1
    assert "in one request" in remarks[0]


def test_a_request_that_is_wrong_is_told_as_such_and_not_by_a_record() -> None:
    def fault(batch: list[str]) -> None:
        raise RequestRefusedError("REDCap refused the request.")

    with pytest.raises(ConfigurationError, match=r"^REDCap refused the request\.$"):
        read(Server(100, fault))


def test_records_without_their_id_are_told() -> None:
    records = Records(Server(3), "study_id", {}, 500, Remarks())
    with pytest.raises(ConfigurationError, match="without their id, the field 'study_id'"):
        records.ids()


def test_batches_are_as_large_as_an_answer_should_be() -> None:
    sizes = Sizes(500)
    assert sizes.next == FIRST
    sizes.answered(50, 50 * ANSWER_BYTES // 100)
    assert sizes.next == 100
    sizes.answered(100, 100)
    assert sizes.next == 400
    sizes.failed(400)
    assert sizes.next == 200
    for _ in range(8):
        sizes.answered(200, 100)
    assert sizes.next == 400
    sizes.answered(1, 10 * ANSWER_BYTES)
    assert sizes.next == 1
