"""A page of named rules: those there are, a form for a new or a changed one, and a refusal above what was typed."""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from fastapi import Request, Response
from pydantic import TypeAdapter, ValidationError

from connectors.errors import ForbiddenError, RequestError
from connectors.people import Act, Person, may_anywhere
from connectors.refusals import from_pydantic
from use_cases.queries import too_low
from web.rendering import page

_NAME = re.compile("[a-z0-9]+([._-][a-z0-9]+)*")
_UNFIT_NAME = "The name must have small letters and digits, with ., _ or - between them, and at most 100 of them."


class RefusedError(Exception):
    """What was typed can't be kept; the message is a sentence."""


class Named(Protocol):
    """What all rules have."""

    @property
    def name(self) -> str: ...


Rule = TypeVar("Rule", bound=Named)


@dataclass(frozen=True, slots=True)
class RulesPage(Generic[Rule]):
    """The page of one kind of rules."""

    template: str
    listed: Callable[[Request, Person], Awaitable[Sequence[Rule]]]
    as_typed: Callable[[Rule], Mapping[str, str]]
    """What the form's fields hold of a rule that is to be changed."""
    more: Mapping[str, Any] = field(default_factory=dict)
    """What the template needs besides."""

    async def show(self, request: Request, person: Person, change: str = "") -> Response:
        """The page; the form has what the rule to `change` says, if there is one."""
        listed = await self._listed(request, person)
        found = next((each for each in listed if each.name == change), None)
        return self._page(request, listed, {} if found is None else self.as_typed(found))

    async def kept(
        self, request: Request, person: Person, sent: Mapping[str, str], keep: Callable[[], Awaitable[Response]]
    ) -> Response:
        """What `keep` answers; where it refuses, the page with its sentence above what was `sent`."""
        try:
            return await keep()
        except ForbiddenError as error:
            status, refused = 403, str(error)
        except (RefusedError, RequestError) as error:
            status, refused = 422, str(error)
        return self._page(request, await self._listed(request, person), sent, refused, status)

    async def _listed(self, request: Request, person: Person) -> Sequence[Rule]:
        if not may_anywhere(person, Act.READ):
            raise ForbiddenError(too_low(Act.READ))
        return await self.listed(request, person)

    def _page(
        self,
        request: Request,
        listed: Sequence[Rule],
        typed: Mapping[str, str],
        refused: str = "",
        status: int = 200,
    ) -> Response:
        return page(
            request, self.template, status=status, listed=listed, refused=refused, typed=dict(typed), **self.more
        )


def name_in(sent: Mapping[str, str]) -> str:
    """The name of a rule in a form. Raises `RefusedError`."""
    name = sent.get("name", "").strip()
    if len(name) > 100 or not _NAME.fullmatch(name):
        raise RefusedError(_UNFIT_NAME)
    return name


def checked(adapter: TypeAdapter[Any], said: Any, about: str) -> Any:
    """What a form says, as the domain has it. Raises `RefusedError` with sentences `about` it."""
    try:
        return adapter.validate_python(said)
    except ValidationError as error:
        raise RefusedError(" ".join(refusal.message for refusal in from_pydantic(error, about))) from None
