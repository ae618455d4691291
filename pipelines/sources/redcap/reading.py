"""One reading of a REDCap project's records: all of them, those that changed, or a part that a run asks for.

What has been read is kept in the state, with the rows, in the same load: if the process dies, neither is there.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from connectors.sources.deletes import Deletes
from connectors.sources.redcap import RedcapSource
from pipelines.errors import ConfigurationError, RunError
from pipelines.sources import Context
from pipelines.sources.cursors.asked import Asked, place_of
from pipelines.sources.redcap.asking import Project
from pipelines.sources.redcap.batches import Records, Row
from pipelines.sources.redcap.changes import changed_since
from pipelines.sources.redcap.clocks import FORMAT, not_after, not_before
from pipelines.sources.redcap.instruments import RECORD
from pipelines.sources.redcap.keys import KeyShape
from pipelines.wording import counted, quoted

_TURNED = "The REDCap project was set up otherwise in the loads before (which events it has, or what of it repeats):"


class Reading:
    """The records that one run reads, batch by batch."""

    def __init__(self, source: RedcapSource, context: Context, project: Project, identity: str) -> None:
        """`identity` is the field that holds a record's id."""
        self._source = source
        self._project = project
        self._all: list[str] | None = None
        self._context = context
        chosen = {"forms": source.forms, "fields": source.fields, "events": source.events}
        self._asked = Asked(same={"api_url": place_of(source.api_url), **_ways(source)}, chosen=chosen)
        self._records = Records(project, identity, form_of(source, identity), source.batch_size, context.remarks)

    def batches(self, state: dict[str, Any], *, merges: bool, replace: Callable[[], None]) -> Iterator[list[Row]]:
        """The rows of whole records. `replace` is called when they must take the place of all that stand there.

        Raises:
            RunError: when they can't be read, or when a part of them can't be landed beside the others.
        """
        started = datetime.now(UTC)
        context = self._context
        part = bool(context.window) or context.row_limit is not None
        before, now = KeyShape.of_state(state), KeyShape()
        if lost := () if part else self._lost(before):
            self._tell_of_lost(lost)
            before = before.without(lost)
        ids, is_all = self._ids({} if lost else state)
        turned: list[bool] = []
        for rows in self._and_others(ids, lambda: bool(turned) and not is_all):
            now = now.with_more(KeyShape.of_rows(rows))
            if merges and not turned and before.turned(now):
                if part:
                    raise ConfigurationError(f"{_TURNED} first run it once as a whole, for rows have other keys now.")
                context.remarks.add(
                    f"{_TURNED} {RECORD} was read anew as a whole and replaced, for rows have other keys now."
                )
                # Rows of the keys before would stand beside the same ones. If the process dies here, the next run sees
                # the same state and does the same.
                replace()
                turned.append(True)
            yield rows
        if not part:
            state |= {"since": started.strftime(FORMAT), "asked": self._asked.kept(state.get("asked"))}
            if now != KeyShape():
                state |= (KeyShape() if turned else before).with_more(now).kept()

    def _lost(self, before: KeyShape) -> tuple[str, ...]:
        """Events of loads before that the project has no more: that changes no record by REDCap's dates and its log."""
        had = {*before.events, *(event for event, _ in before.instruments)} - {""}
        if not had:
            return ()
        try:
            mapping = self._project.ask("formEventMapping")
        except RunError:
            return ()  # what REDCap does not say is no change
        there = {str(row.get("unique_event_name")) for row in mapping}
        return tuple(sorted(had - there)) if had & there else ()

    def _tell_of_lost(self, events: tuple[str, ...]) -> None:
        stay = self._source.deletes is Deletes.IGNORE
        self._context.remarks.add(
            f"The REDCap project no longer has the events {quoted(events)}, by these names: all of {RECORD} was read "
            "anew" + (", and rows of those events stay: set source.deletes to mark or remove." if stay else ".")
        )

    def all_ids(self) -> list[str]:
        """The ids of all records, asked for once however many tables want them."""
        if self._all is None:
            self._all = self._records.ids()
        return self._all

    def _and_others(self, ids: list[str], wanted: Callable[[], bool]) -> Iterator[list[Row]]:
        """These records, and then all others if those are wanted by then."""
        yield from self._records.read(ids)
        if wanted():
            had = set(ids)
            yield from self._records.read(each for each in self._records.ids() if each not in had)

    def _ids(self, state: dict[str, Any]) -> tuple[list[str], bool]:
        """The records to read, and whether those are all."""
        records, zone = self._records, self._source.time_zone
        if self._context.window:
            start, end = self._context.window.bounds()
            dates = {"dateRangeBegin": not_after(start, zone), "dateRangeEnd": not_before(end, zone)}
            return records.ids(**dates)[: self._context.row_limit], False
        if self._context.row_limit is not None:
            return records.ids()[: self._context.row_limit], False
        since = self._since(state) if self._source.date_range else None
        if since is None:
            return records.ids(), True
        moment = datetime.strptime(since, FORMAT).replace(tzinfo=UTC)
        changed = changed_since(self._project, records, moment, zone)
        if changed.gone and self._source.deletes is Deletes.IGNORE:
            self._context.remarks.add(
                f"By REDCap's log, {counted(changed.gone, 'record')} of those that changed since the last load "
                f"{'is' if changed.gone == 1 else 'are'} not there any more (deleted, renamed, or left out by forms, "
                "events or filter_logic), and their rows stay: set source.deletes to mark or remove."
            )
        return changed.ids, False

    def _since(self, state: dict[str, Any]) -> str | None:
        """The start of the last complete load; None when it asked for less than this one does."""
        before = state.get("asked", {})
        # Earlier versions asked for none of what is new since.
        usual = Asked(same=_USUAL).kept()["same"]
        if changed := self._asked.widened({**before, "same": {**usual, **before.get("same", {})}} if before else {}):
            self._context.remarks.add(
                f"Other rows of {RECORD} are asked for than in the loads before ({' and '.join(changed)} changed), so "
                "the table was read anew from the beginning; rows that are no longer asked for stay until a full "
                "refresh."
            )
            return None
        return state.get("since")


def form_of(source: RedcapSource, identity: str) -> dict[str, str]:
    """What is asked for of each record, as REDCap's parameters."""
    # Without its own form the record's id would be missing, and with it the key.
    fields = dict.fromkeys([identity, *source.fields]) if source.forms or source.fields else {}
    form = {
        f"{name}[{index}]": value
        for name, values in (("forms", source.forms), ("fields", fields), ("events", source.events))
        for index, value in enumerate(values)
    }
    if source.filter_logic is not None:
        form["filterLogic"] = source.filter_logic
    if source.survey_fields:
        form["exportSurveyFields"] = "true"
    if source.access_groups:
        form["exportDataAccessGroups"] = "true"
    return form


def _ways(source: RedcapSource) -> dict[str, Any]:
    """What of a connector changes rows that have come before, by its name there."""
    return {name: getattr(source, name) for name in _USUAL}


_USUAL = {
    name: RedcapSource.model_fields[name].default
    for name in ("layout", "labels", "checkboxes", "survey_fields", "access_groups", "filter_logic")
}
"""The same, as it is where the connector says nothing."""
