"""Tables that one reading fills together: who asks for one of them gets all, each part of the reading once.

A page goes to each of the tables in turn, as dlt asks its resources in turn, and is kept until the last one has it.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar, Generic, TypeVar

from dlt.extract import DltResource
from dlt.extract.items_transform import ItemTransform

T = TypeVar("T")


class Shared(Generic[T]):
    """The pages of one reading, for so many takers. It begins when the first one asks."""

    def __init__(self, read: Callable[[], Iterator[T]], takers: int) -> None:
        self._read = read
        self._takers = takers
        self._pages: Iterator[T] | None = None
        self._kept: dict[int, tuple[T, int]] = {}
        self._count = 0
        self._is_over = False

    def pages(self) -> Iterator[T]:
        """All pages, for one taker."""
        number = 0
        while (page := self._page(number)) is not None:
            yield page
            number += 1

    def _page(self, number: int) -> T | None:
        if number == self._count and not self._is_over:
            if self._pages is None:
                self._pages = self._read()
            try:
                self._kept[number] = next(self._pages), self._takers
                self._count += 1
            except StopIteration:
                self._is_over = True
        if number not in self._kept:
            return None
        page, left = self._kept.pop(number)
        if left > 1:
            self._kept[number] = page, left - 1
        return page


class _Together(ItemTransform[Any, dict[str, Any]]):
    """A step that does nothing: it says with which other tables a resource is read."""

    placement_affinity: ClassVar[float] = 0.5

    def __init__(self, group: str) -> None:
        super().__init__(lambda page: page)
        self.group = group

    def __call__(self, item: Any, meta: Any = None) -> Any:
        return item


def read_together(resources: Iterable[DltResource], group: str) -> None:
    """Say that these resources are read together."""
    for resource in resources:
        resource.add_step(_Together(group))


class _MadeOfOthers(ItemTransform[Any, dict[str, Any]]):
    """A step that does nothing: it says that a resource is made of rows that another one has masked and protected."""

    placement_affinity: ClassVar[float] = 0.5

    def __init__(self) -> None:
        super().__init__(lambda page: page)

    def __call__(self, item: Any, meta: Any = None) -> Any:
        return item


def made_of_others(resource: DltResource) -> None:
    """Say that a resource is made of rows that have been masked and protected as what they are."""
    resource.add_step(_MadeOfOthers())


def is_made_of_others(resource: DltResource) -> bool:
    """Whether a resource's rows have been masked and protected before."""
    return any(isinstance(step, _MadeOfOthers) for step in resource._pipe.steps)


def with_others(chosen: Iterable[DltResource], resources: Iterable[DltResource]) -> list[DltResource]:
    """The chosen ones of these resources, and those that are read together with one of them."""
    names = {resource.name for resource in chosen}
    known = list(resources)
    groups = {_group(resource) for resource in known if resource.name in names} - {None}
    return [resource for resource in known if resource.name in names or _group(resource) in groups]


def _group(resource: DltResource) -> str | None:
    return next((step.group for step in resource._pipe.steps if isinstance(step, _Together)), None)
