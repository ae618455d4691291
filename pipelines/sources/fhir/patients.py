"""Searches by patient, for servers that take no other: whose they are first, then each type for each patient.

A patient who is new is asked for from the beginning, the others from where the loads before came to. What is kept of
that travels with the rows: if the process dies, neither is there.
"""

import contextlib
import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

import dlt
from dlt.extract import DltResource

from connectors.sources.fhir import FhirSource
from connectors.sources.fhir_offers import Capability
from pipelines.errors import ConfigurationError
from pipelines.sources import Context
from pipelines.sources.cursors.asked import Asked, place_of
from pipelines.sources.cursors.incremental import STATE
from pipelines.sources.cursors.values import Kind, earlier, instant_of
from pipelines.sources.fhir.belonging import is_of_another
from pipelines.sources.fhir.bundles import resources_in, searched
from pipelines.sources.fhir.capability import Offered
from pipelines.sources.fhir.views import digest_of
from pipelines.sources.http.client import Client
from pipelines.sources.rest_api import as_tables, first_rows, paged

CURSOR = "meta.lastUpdated"
LAST_UPDATED = "_lastUpdated"
KNOWN = "patients"
"""The key of a resource's state with a mark of each patient whose past has landed."""

DATES = ("date", "authoredon", "recorded-date", "issued", "created", "sent", "started", "effective")
"""Search parameters for the day of what a resource tells of, the first that a type has."""


@dataclass(frozen=True, slots=True)
class Way:
    """The parameters by which a type is searched: that of the patient, and that of what is new, if there is one."""

    patient: str
    moment: str | None = None


def way_of(kind: str, offered: Capability, *, by_date: bool) -> Way:
    """The way to search a type for one patient. Pure.

    Args:
        kind: the type.
        offered: what the server offers. One that names no parameters of a type is taken to have the usual ones.
        by_date: where nothing tells what was updated, the day of what a resource tells of is to.

    Raises:
        ConfigurationError: the server offers no such search.
    """
    parameters = offered.searches.get(kind)
    if parameters is None:
        raise ConfigurationError(
            f"The server does not offer the search of {kind}, by its CapabilityStatement: take it out of "
            "source.resource_types."
        )
    if not parameters:
        return Way("_id" if kind == "Patient" else "patient", LAST_UPDATED)
    wanted = ("_id",) if kind == "Patient" else ("patient", "subject")
    named = next((name for name in wanted if name in parameters or name == "_id"), None)
    if named is None:
        raise ConfigurationError(
            f"The server offers no search of {kind} by patient, by its CapabilityStatement: load it by a connector "
            "without source.patients."
        )
    if LAST_UPDATED in parameters:
        return Way(named, LAST_UPDATED)
    return Way(named, next((name for name in DATES if name in parameters), None) if by_date else None)


@dataclass
class Named:
    """How a type's searches name a patient: by the id, or as `Patient/id` where the server finds nothing by that."""

    as_reference: bool | None = None
    """None: nobody knows yet, for nothing has come."""

    def found(self, search: Callable[[str], list[dict[str, Any]]], patient: str) -> list[dict[str, Any]]:
        """What a search finds of a patient."""
        known = self.as_reference  # another thread may learn it meanwhile
        found = search(f"Patient/{patient}" if known else patient)
        if known is not None:
            return found
        if found:
            self.as_reference = False
            return found
        with contextlib.suppress(ConfigurationError):  # the id alone is the usual way, and was not refused
            if found := search(f"Patient/{patient}"):
                self.as_reference = True
        return found


class Patients:
    """The patients of a connector, and their resources. One for a run."""

    def __init__(self, source: FhirSource, client: Client, offered: Offered, context: Context) -> None:
        self._source = source
        self._client = client
        self._offered = offered
        self._context = context

    @cached_property
    def _ids(self) -> list[str]:
        """The ids of the patients, each once."""
        wanted = self._source.patients
        if wanted is None:
            return []
        if wanted.list:
            return list(dict.fromkeys(wanted.list))
        if wanted.group is not None:
            return self._of_group(wanted.group)
        params = {"_count": self._source.page_size, **wanted.search}
        bundles = searched(self._client, "Patient", params, check=self._source.check_complete)
        return list(dict.fromkeys(str(each["id"]) for bundle in bundles for each in resources_in(bundle, "Patient")))

    def _of_group(self, group: str) -> list[str]:
        found = self._client.answer(self._client.request(f"Group/{group}")).json()
        members = found.get("member") if isinstance(found, dict) and found.get("resourceType") == "Group" else None
        if not isinstance(members, list):
            raise ConfigurationError("The server names no members of the Group: check source.patients.group.")
        ids: dict[str, None] = {}
        for member in members:
            entity = member.get("entity") if isinstance(member, dict) and member.get("inactive") is not True else None
            kind, _, name = str(entity.get("reference", "") if isinstance(entity, dict) else "").rpartition("/")
            if kind.rpartition("/")[2] == "Patient" and name:
                ids[name] = None
        return list(ids)

    def resources(self) -> list[DltResource]:
        """One resource for each type.

        Raises:
            RunError: the server can't be asked, or does not offer a search.
        """
        by_date = self._source.overlap is not None
        ways = {kind: way_of(kind, self._offered(), by_date=by_date) for kind in self._source.resource_types}
        return [self._resource(kind, way) for kind, way in ways.items()]

    def _resource(self, kind: str, way: Way) -> DltResource:
        first = first_rows(self._context)
        window = self._context.window.bounds() if self._context.window else None
        if window is not None and way.moment != LAST_UPDATED:
            raise ConfigurationError(
                f"The server can't tell what of {kind} was updated in a time, so there is no backfill: run a full "
                "refresh."
            )

        def read() -> Iterator[Any]:
            if window is not None:
                moments = [f"ge{window[0].isoformat()}", f"lt{window[1].isoformat()}"]
                yield from paged(self._pages(kind, way, lambda _: moments, Named()), first)
                return
            reading = Reading(self._source, self._client, kind, way, self._marks(kind))
            state = {} if first is not None else dlt.current.resource_state()
            start = reading.begin(state)
            yield from paged(reading.noted(self._pages(kind, way, start, reading.named)), first)
            reading.end(state)

        resource = dlt.resource(read, name=kind, primary_key="id", write_disposition="merge")
        return as_tables(resource, kind, first, keeps_digits=True, types=self._source.types)

    def _marks(self, kind: str) -> dict[str, str]:
        """A mark of each patient. Where ids must not land, all have one, which is another when they are others."""
        hidden = "id" in self._context.mask.columns or self._context.protection.treats(kind, "id")
        everybody = _mark("\n".join(sorted(self._ids)))
        return {each: everybody if hidden else _mark(each) for each in self._ids}

    def _pages(
        self, kind: str, way: Way, start: Callable[[str], Sequence[str]], named: Named
    ) -> Iterator[list[dict[str, Any]]]:
        """The resources of each patient, of some patients at a time."""

        def of_patient(patient: str) -> list[dict[str, Any]]:
            def search(name: str) -> list[dict[str, Any]]:
                params: dict[str, Any] = {way.patient: name, "_count": self._source.page_size}
                if way.moment is not None and (moments := start(patient)):
                    params[way.moment] = list(moments)
                bundles = searched(self._client, kind, params, check=self._source.check_complete)
                found = [each for bundle in bundles for each in resources_in(bundle, kind)]
                return self._own(found, kind, way, patient)

            return search(patient) if kind == "Patient" else named.found(search, patient)

        at_once = self._source.patients.at_once if self._source.patients is not None else 1
        yield from _in_parallel(of_patient, self._ids, at_once)

    def _own(self, found: list[dict[str, Any]], kind: str, way: Way, patient: str) -> list[dict[str, Any]]:
        """What of it is the patient's who was asked for: nobody else's may land, and nothing is left out in silence."""
        if kind == "Patient":
            own = [each for each in found if each.get("id") == patient]
        else:
            own = [each for each in found if not is_of_another(each, patient)]
        if len(own) < len(found):
            self._client.remark(
                "The server does not heed _id, and answers with other patients than those that were asked for: these "
                "were left out."
                if kind == "Patient"
                else f"The server answers the search of {kind} by {way.patient} with what is of other patients than "
                "those that were asked for, by its own references: that was left out. Where it has merged patients, "
                "name them in source.patients by the ids that it keeps."
            )
        return own


class Reading:
    """One reading of a type for all patients: from where, and how far it has come."""

    def __init__(self, source: FhirSource, client: Client, kind: str, way: Way, marks: dict[str, str]) -> None:
        self._source = source
        self._client = client
        self._kind = kind
        self._way = way
        self._marks = marks
        self._asked = Asked(
            same={"base_url": place_of(source.base_url)},
            made={"views": digest_of(source, kind)},
            begins={"since": source.since},
        )
        self._begun = datetime.now(UTC)
        self._newest: Any = None
        self.named = Named()

    def begin(self, state: dict[str, Any]) -> Callable[[str], Sequence[str]]:
        """The moments that a patient's resources are asked for by, as the loads before have left it."""
        kept = dict(state.get(STATE, {}))
        if self._asked.widened(kept.get("asked", {})):
            kept = {}
        self._newest = kept.get("value")
        self.named.as_reference = kept.get("as_reference")
        since, known = self._from(kept), set(state.get(KNOWN, ()) if kept else ())
        if self._way.moment is None:
            self._client.remark(
                f"The server can't tell what of {self._kind} was updated, so all of it was read, as in each run."
            )
        elif self._way.moment != LAST_UPDATED:
            self._client.remark(
                f"The server can't tell what of {self._kind} was updated: what it dates ({self._way.moment}) within "
                f"{self._source.overlap:g} days before the last load was read again, and older entries that were "
                "changed were not. A full refresh brings them."
            )

        def start(patient: str) -> Sequence[str]:
            begins = since if self._marks[patient] in known else self._source.since
            return [f"ge{begins}"] if begins is not None else []

        return start

    def _from(self, kept: dict[str, Any]) -> str | None:
        if self._way.moment == LAST_UPDATED:
            value = kept.get("value")
            return self._source.since if value is None else str(earlier(value, self._source.lag))
        read_at = kept.get("read_at")
        if read_at is None or self._source.overlap is None:
            return self._source.since
        return (datetime.fromisoformat(read_at) - timedelta(days=self._source.overlap)).date().isoformat()

    def noted(self, pages: Iterable[list[dict[str, Any]]]) -> Iterator[list[dict[str, Any]]]:
        """The pages, of which the newest moment is kept."""
        for page in pages:
            for each in page:
                meta = each.get("meta")
                moment = meta.get("lastUpdated") if isinstance(meta, dict) else None
                if instant_of(moment).kind is Kind.MOMENT and (
                    self._newest is None or instant_of(moment) > instant_of(self._newest)
                ):
                    self._newest = moment
            yield page

    def end(self, state: dict[str, Any]) -> None:
        """Keep how far all patients have come."""
        before = state.get(STATE, {}).get("asked")
        widened = before is not None and bool(self._asked.widened(before))
        kept: dict[str, Any] = {"path": CURSOR, "asked": self._asked.kept(None if widened else before)}
        kept |= {} if self.named.as_reference is None else {"as_reference": self.named.as_reference}
        kept |= {"read_at": self._begun.isoformat()} | ({} if self._newest is None else {"value": self._newest})
        state[STATE] = kept
        state[KNOWN] = sorted(set(self._marks.values()))


def _in_parallel(
    work: Callable[[str], list[dict[str, Any]]], of: Sequence[str], at_once: int
) -> Iterator[list[dict[str, Any]]]:
    """What the work gives for each, in order; so many at once, and no further ahead."""
    with ThreadPoolExecutor(at_once, "patients") as pool:
        begun = deque[Future[list[dict[str, Any]]]]()
        rest = iter(of)
        try:
            for each in rest:
                begun.append(pool.submit(work, each))
                if len(begun) >= at_once:
                    yield begun.popleft().result()
            while begun:
                yield begun.popleft().result()
        finally:
            for future in begun:
                future.cancel()


def _mark(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()
