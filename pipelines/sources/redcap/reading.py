"""One reading of a REDCap project's records: all of them, those that changed, or a part that a run asks for.

What has been read is kept in the state, with the rows, in the same load: if the process dies, neither is there.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from connectors.sources.redcap import RedcapSource
from pipelines.errors import ConfigurationError
from pipelines.sources import Context
from pipelines.sources.cursors.asked import Asked, place_of
from pipelines.sources.redcap.asking import Project
from pipelines.sources.redcap.batches import Records, Row
from pipelines.sources.redcap.clocks import FORMAT, not_after, not_before
from pipelines.sources.redcap.instruments import RECORD
from pipelines.sources.redcap.keys import KeyShape

_TURNED = "The REDCap project was set up otherwise in the loads before (which events it has, or what of it repeats):"


class Reading:
    """The records that one run reads, batch by batch."""

    def __init__(self, source: RedcapSource, context: Context, project: Project, identity: str) -> None:
        """`identity` is the field that holds a record's id."""
        self._source = source
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
        context, records = self._context, self._records
        part = bool(context.window) or context.row_limit is not None
        dates = self._dates(state)
        before, now = KeyShape.of_state(state), KeyShape()
        turned: list[bool] = []
        for rows in self._and_others(records.ids(**dates)[: context.row_limit], lambda: bool(turned and dates)):
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

    def _and_others(self, ids: list[str], wanted: Callable[[], bool]) -> Iterator[list[Row]]:
        """These records, and then all others if those are wanted by then."""
        yield from self._records.read(ids)
        if wanted():
            had = set(ids)
            yield from self._records.read(each for each in self._records.ids() if each not in had)

    def _dates(self, state: dict[str, Any]) -> dict[str, str]:
        if self._context.window:
            start, end = self._context.window.bounds()
            return {"dateRangeBegin": not_after(start), "dateRangeEnd": not_before(end)}
        if not self._source.date_range or self._context.row_limit is not None:
            return {}
        since = self._since(state)
        return {"dateRangeBegin": not_after(datetime.strptime(since, FORMAT).replace(tzinfo=UTC))} if since else {}

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
