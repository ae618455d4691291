"""Conditions of `protect.where`: which rows may leave a source. Pure.

A row that has no value where a condition looks does not meet it, unless the condition asks for that: what nobody knows
does not leave.
"""

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

from connectors.sources.protection.rules import Condition, Op
from connectors.sources.write_rules import normalised
from pipelines.protection.matching import finder
from pipelines.protection.methods.hashing import as_number, as_text

_ORDERS: dict[Op, Callable[[Any, Any], bool]] = {
    Op.BELOW: operator.lt, Op.AT_MOST: operator.le, Op.ABOVE: operator.gt, Op.AT_LEAST: operator.ge,
}  # fmt: skip

May = Callable[[Any], bool]


def may_leave(conditions: Sequence[Condition], table: str) -> May | None:
    """What says of a row of a table whether it may leave; None where all of them may."""
    checks = [
        _check(each) for each in conditions if not each.tables or normalised(table) in map(normalised, each.tables)
    ]
    return (lambda row: all(check(row) for check in checks)) if checks else None


def _check(condition: Condition) -> May:
    find = finder(condition.path)
    match condition.op:
        case Op.EXISTS:
            return lambda row: bool(find(row))
        case Op.MISSING:
            return lambda row: not find(row)
    wanted = condition.value if isinstance(condition.value, tuple) else (condition.value,)
    compare = functools.partial(_meets, condition.op, wanted)
    if condition.op in {Op.IS_NOT, Op.NOT_IN}:
        return lambda row: bool(found := find(row)) and all(compare(value) for value in found)
    return lambda row: any(compare(value) for value in find(row))


def _meets(op: Op, wanted: tuple[Any, ...], value: Any) -> bool:
    if op in _ORDERS:
        mine, other = as_number(value), as_number(wanted[0])
        if mine is not None and other is not None:
            return _ORDERS[op](mine, other)
        # A number and a text have no order.
        return (mine is None) == (other is None) and _ORDERS[op](_text(value), _text(wanted[0]))
    is_there = any(_same(value, each) for each in wanted)
    return is_there != (op in {Op.IS_NOT, Op.NOT_IN})


def _same(value: Any, wanted: Any) -> bool:
    mine, other = as_number(value), as_number(wanted)
    if mine is not None and other is not None and not (isinstance(value, str) and isinstance(wanted, str)):
        return mine == other
    return _text(value) == _text(wanted)


def _text(value: Any) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else as_text(value)
