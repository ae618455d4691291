"""For you: all that waits for a person, each with its sentence and its button.

A section a kind: what waits is asked by one function, which gives its cards. One more kind is one more function.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from fastapi import APIRouter, Request, Response

from connectors.freshness import Freshness
from connectors.loads import of_one_event
from connectors.people import Act, Person, Verdict, may
from database.connectors import Filter
from use_cases.connectors import Service
from use_cases.queries import Entry
from web.presenting import TONES, ago, change_words, load_words, number
from web.refusing import PageRoute
from web.rendering import UseCases, Visitor, now, page

router = APIRouter(route_class=PageRoute)

STALE = (Freshness.FAILING, Freshness.INVALID, Freshness.OVERDUE, Freshness.LATE)
MOST = 50
"""Cards of each section: whoever has more begins with these."""


@dataclass(frozen=True, slots=True)
class Button:
    """What can be done about it, at once or on another page."""

    label: str
    address: str
    form: Mapping[str, str] | None = None
    """What is sent along; None: it leads to a page."""
    decides: bool = False
    """It asks for a reason where one is required."""


@dataclass(frozen=True, slots=True)
class Card:
    """One thing that waits."""

    entry: Entry
    sentence: str
    buttons: Sequence[Button] = ()
    """None where whoever looks may do nothing."""


@dataclass(frozen=True, slots=True)
class Section:
    """The things of one kind that wait."""

    title: str
    tone: str
    cards: Sequence[Card]
    more: bool = False
    """There are more than are shown."""
    help: str = ""


@router.get("/for-you")
async def inbox(request: Request, service: UseCases, person: Visitor) -> Response:
    """What waits for somebody, the gravest first."""
    sections = [section for ask in WAITING for section in await ask(service, person)]
    return page(request, "inbox.html", sections=[section for section in sections if section.cards])


async def _stale(service: Service, person: Person) -> list[Section]:
    """Connectors whose data is not what was promised."""
    sections = []
    for judged in STALE:
        found = await service.page(Filter(freshness=judged), limit=MOST)
        cards = [_stale_card(entry, judged, person) for entry in found.entries]
        sections.append(Section(judged.value, TONES[judged], cards, found.after is not None))
    return sections


def _stale_card(entry: Entry, judged: Freshness, person: Person) -> Card:
    where, team = f"/connectors/{entry.row.id}", entry.row.team
    status, load = entry.status, entry.load
    if judged is Freshness.INVALID:
        buttons = [Button("Correct it", f"{where}/edit")] if _may(person, Act.CHANGE, team) else []
        return Card(entry, (status.message if status else None) or "It can't run as it is.", buttons)
    buttons = [Button("Load now", f"{where}/run", {})] if _may(person, Act.RUN, team) else []
    return Card(entry, (load.message if load else None) or load_words(load, now()), buttons)


async def _held(service: Service, person: Person) -> list[Section]:
    """Loads whose checks failed, and that wait until somebody lets them through."""
    found = await service.waiting(MOST + 1)
    cards = []
    for entry, held in found[:MOST]:
        where, form = f"/connectors/{entry.row.id}", {"held": str(held.id)}
        buttons = [
            Button("Let it through", f"{where}/approve", form, decides=True),
            Button("Refuse it", f"{where}/refuse", form, decides=True),
        ]
        may_decide = _may(person, Act.CHANGE, entry.row.team)
        sentence = f"Nothing was loaded, since checks failed {ago(held.held_at, now())}: {held.sentence}."
        cards.append(Card(entry, sentence, buttons if may_decide else ()))
    return [Section("loads held", "bad", cards, len(found) > MOST, "Let through, a load reads the source once more.")]


async def _changed(service: Service, person: Person) -> list[Section]:
    """Columns that are not what they were at the source, and wait until somebody approves them."""
    found = await service.changes_waiting(MOST + 1)
    entries = {change.id: entry for entry, change in found}
    cards = []
    for changes in of_one_event(change for _, change in found[:MOST]):
        first, entry = changes[0], entries[changes[0].id]
        where, form = f"/connectors/{entry.row.id}", {"change": " ".join(str(each.id) for each in changes)}
        buttons = [
            Button("Approve it", f"{where}/approve", form, decides=True),
            Button("Refuse it", f"{where}/refuse", form, decides=True),
        ]
        sentence = f"Of table {first.table_name}, {change_words(changes)}, since {ago(first.first_seen_at, now())}."
        cards.append(Card(entry, sentence, buttons if _may(person, Act.CHANGE, entry.row.team) else ()))
    return [Section("source changed", "warn", cards, len(found) > MOST, "Nothing of it lands until it is approved.")]


async def _withheld(service: Service, person: Person) -> list[Section]:
    """Rows that are gone at the source, and stay until somebody has looked."""
    found = await service.withheld(MOST + 1)
    cards = []
    for entry, each in found[:MOST]:
        form = {"table.0": each.table_name, "allow_mass_delete": "on"}
        may_run = _may(person, Act.RUN, entry.row.team)
        buttons = [Button("Let them go here too", f"/connectors/{entry.row.id}/run", form)] if may_run else []
        sentence = (
            f"{number(each.gone)} of {number(each.rows)} rows of table {each.table_name} are gone at the source. They "
            f"were found to be gone {ago(each.since, now())} and are kept here, for that is more than usual."
        )
        cards.append(Card(entry, sentence, buttons))
    hint = "Ask whoever keeps the source whether that is right: it may be an export that broke off."
    return [Section("deletes withheld", "warn", cards, len(found) > MOST, hint)]


def _may(person: Person, act: Act, team: str | None) -> bool:
    return may(person, act, team) is Verdict.ALLOWED


WAITING: Sequence[Callable[[Service, Person], Awaitable[list[Section]]]] = (_held, _changed, _stale, _withheld)
"""What may wait, in the order in which it is shown."""
