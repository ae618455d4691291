"""The ids of a cycle: what is pressing, what waits for its turn, and what Prefect is needed for."""

from hypothesis import given
from hypothesis import strategies as st

from connectors.status import Reason
from deployments.planning.plan import Desired, Invalid
from deployments.reconciling.work_set import WorkSet
from tests.support.control_plane.samples import spec

IDS = st.frozensets(st.integers(1, 8), max_size=8)
WORK = st.builds(WorkSet, IDS, IDS, IDS)


def valid(number: int, *, active: bool = True) -> Desired:
    return Desired(number, 1, active, None, spec(number))


def invalid(number: int, *, active: bool = True) -> Desired:
    return Desired(number, 1, active, None, Invalid(Reason.INVALID_SCHEDULE, "no"))


def test_what_was_changed_while_it_waited_for_its_turn_waits_no_longer() -> None:
    work = WorkSet(changed=frozenset({1}), due=frozenset({2}), deferred=frozenset({1, 2, 3}))
    assert work.in_turn == {3}
    assert work.waiting == {1, 2, 3}


def test_only_an_active_row_that_is_invalid_needs_no_prefect() -> None:
    desired = {1: valid(1), 2: invalid(2), 3: invalid(3, active=False)}
    work = WorkSet(changed=frozenset({1, 2, 3, 4}))
    assert work.needs_prefect(desired) == {1, 3, 4}, "3 is to be paused, 4 has no row: it is to be deleted"
    assert work.needs_a_record(desired) == {2}


def test_who_waits_for_prefect_is_neither_settled_nor_in_turn() -> None:
    desired = {i: valid(i) for i in range(1, 5)}
    work = WorkSet(changed=frozenset({1, 2}), due=frozenset({3}), deferred=frozenset({4}))
    assert work.waits_for_prefect(desired) == {1, 2, 3}
    assert work.waits_for_prefect(desired, {1}) == {2, 3}
    assert work.still_in_turn(set()) == {4}
    assert work.still_in_turn({4}) == frozenset()


def test_an_audit_looks_at_all_and_another_cycle_at_what_has_become_due_besides() -> None:
    desired = {1: valid(1), 2: valid(2)}
    work = WorkSet(changed=frozenset({1}))
    assert work.scope(desired, {2, 3}, {3, 9}, audit=True) == {1, 2, 3}
    assert work.scope(desired, {2, 3}, {3, 9}, audit=False) == {1, 3}, "9 has neither a row nor a status"


@given(WORK, IDS, IDS, IDS)
def test_every_connector_of_a_cycle_is_dealt_with_once(
    work: WorkSet, rows: frozenset[int], broken: frozenset[int], settled: frozenset[int]
) -> None:
    desired = {i: invalid(i) if i in broken else valid(i) for i in rows}
    needs, records = work.needs_prefect(desired), work.needs_a_record(desired)
    assert needs | records == work.waiting
    assert not needs & records
    away = work.waits_for_prefect(desired, settled) | work.still_in_turn(settled) | settled | records
    assert away >= work.waiting, "while Prefect is away, none is forgotten"
