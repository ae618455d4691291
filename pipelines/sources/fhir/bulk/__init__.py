"""Bulk Data Access: a FHIR server exports all types into files, which are read when it is done (HL7, versions 1 to 4).

Each type keeps, with its rows, the time that the export's manifest names: the next export asks for what has changed
since then. So a run that dies leaves nothing behind but the export itself, with which the next one goes on.
"""

from collections.abc import Iterator
from typing import Any

import dlt
from dlt.extract import DltResource

from connectors.sources.deletes import Deletes
from connectors.sources.fhir import FhirSource, Mode
from connectors.sources.write_rules import normalised
from database.runs import Export
from pipelines.errors import ConfigurationError
from pipelines.rows.read_ahead import ahead, gathered
from pipelines.rows.to_arrow import ToArrow
from pipelines.sources import Context
from pipelines.sources.cursors.asked import Asked, place_of
from pipelines.sources.cursors.incremental import STATE
from pipelines.sources.exports import Exports
from pipelines.sources.fhir.bulk import deleted
from pipelines.sources.fhir.bulk.asking import (
    Wanted,
    as_instant,
    begins_at,
    earliest,
    level_of,
    path_of,
    scope_of,
    wanted_by,
)
from pipelines.sources.fhir.bulk.export import Exporting
from pipelines.sources.fhir.bulk.files import Files, resources_of
from pipelines.sources.fhir.bulk.manifest import File, Manifest
from pipelines.sources.fhir.capability import Offered
from pipelines.sources.fhir.outcomes import code_of, is_bad, issues_of
from pipelines.sources.fhir.views import digest_of
from pipelines.sources.http.client import Client
from pipelines.wording import counted

CURSOR = "meta.lastUpdated"
"""The name under which a search keeps how far it has come. An export keeps the same, so that each can go on where the
other stopped."""

PAGE_ROWS = 3_000
"""Resources that go through a pipe together: nested as they are, each takes kilobytes until it is a row."""


def is_wanted(source: FhirSource, offered: Offered, context: Context) -> bool:
    """Whether a connector has its server export, which `auto` leaves to what the server offers.

    Raises:
        ConfigurationError: the connector asks for what only an export has, and the server offers none.
    """
    if source.mode is not Mode.AUTO:
        return source.mode is Mode.BULK
    if context.exports is not None and context.exports.current() is not None:
        return True
    exports = offered().exports
    level = level_of(source, exports)
    if level in exports:
        return True
    for name in ("group", "export_level", "type_filters"):
        if getattr(source, name):
            raise ConfigurationError(
                f"The server offers no export on the level '{level}', which source.{name} needs: leave it out."
            )
    if source.deletes is not Deletes.IGNORE:
        context.remarks.add("The server offers no export, so nothing is known of resources that it has deleted.")
    return False


def look_first(source: FhirSource, client: Client, exports: Exports) -> None:
    """Look at the export under way, if it is one of this server.

    Raises:
        NotReadyError: it is not complete.
        RunError: the server can't be asked, or has given it up.
    """
    export = exports.current()
    if export is not None and export.asked.get("place") == place_of(source.base_url):
        Exporting(client, exports, bool).looked(export)


def end_left_over(client: Client, exports: Exports) -> None:
    """End an export that is not wanted any more, since the connector searches now."""
    if (export := exports.current()) is not None:
        if export.address is not None:
            Exporting(client, exports, bool).end(export)
        exports.forget(export.id)


def resources(source: FhirSource, client: Client, offered: Offered, context: Context) -> list[DltResource]:
    """One resource for each type, which reads what the server has exported of it.

    Raises:
        NotReadyError: the export is not complete.
        RunError: the server refuses or has given it up, or the run is asked for what no export can do.
    """
    return _Reading(source, client, offered, context).resources()


class _Reading:
    """The reading of one run."""

    def __init__(self, source: FhirSource, client: Client, offered: Offered, context: Context) -> None:
        self._source = source
        self._client = client
        self._offered = offered
        self._context = context
        wanted = {normalised(name) for name in context.tables}
        self._types = [kind for kind in source.resource_types if not wanted or normalised(kind) in wanted]

    def resources(self) -> list[DltResource]:
        exports = self._context.exports
        if self._context.rehearsal:
            return self._rehearsed()
        if self._context.row_limit is not None or self._context.window:
            raise ConfigurationError(
                "An export has no first rows and no part of the past: run it without row_limit and backfill_from. A "
                "full refresh brings everything again."
            )
        by_id = self._source.deletes is not Deletes.IGNORE
        if by_id and any(self._context.protection.treats(kind, "id") for kind in self._types):
            raise ConfigurationError(
                "source.deletes goes by the ids of resources, and source.protect changes them: mask them by "
                "source.mask instead, or set deletes to ignore."
            )
        if exports is None or not self._types:
            return [self._resource(kind, iter(())) for kind in self._source.resource_types]
        exporting = Exporting(self._client, exports, lambda: self._offered().posts)
        export = exports.current()
        if export is not None and any(self._kept(kind).get("export") == str(export.id) for kind in self._types):
            # The run before died between its load and this.
            self._client.remark("The rows of the server's export had landed before: it was ended, and no other begun.")
            self._end(exporting, export)
            return [self._resource(kind, iter(())) for kind in self._source.resource_types]
        wanted = self._wanted(export)
        manifest = exporting.manifest(wanted)
        if (export := exports.current()) is None:
            raise AssertionError("An export that is complete is under way.")
        return self._of_manifest(exporting, export, manifest)

    def _rehearsed(self) -> list[DltResource]:
        """No rows: nobody has a server export everything to see ten."""
        exports = self._offered().exports
        level = level_of(self._source, exports)
        offers = "says" if level in exports else "does not say"
        self._client.remark(
            f"A test begins no export, so it shows no rows; the server {offers} that it offers one on the level "
            f"'{level}'."
        )
        return [self._resource(kind, iter(())) for kind in self._source.resource_types]

    def _asked(self, kind: str) -> Asked:
        same = {"base_url": place_of(self._source.base_url), "export": scope_of(self._source)}
        made = {"views": digest_of(self._source, kind)}
        return Asked(same=same, made=made, begins={"since": self._source.since})

    # --- what is wanted -------------------------------------------------------------------------------------------

    def _wanted(self, export: Export | None) -> Wanted:
        since = earliest([self._since(kind) for kind in self._types])
        place = place_of(self._source.base_url)
        return wanted_by(self._source, self._path(export), self._types, since, place)

    def _path(self, export: Export | None) -> str:
        narrowed = self._source.group or self._source.export_level
        if export is not None and not narrowed and export.asked.get("path") in {"$export", "Patient/$export"}:
            return str(export.asked["path"])
        offered = frozenset() if narrowed else self._offered().exports
        return path_of(self._source, level_of(self._source, offered))

    def _kept(self, kind: str) -> dict[str, Any]:
        """What the loads before have kept of a type."""
        state = {} if self._context.full_refresh else self._context.states.get(kind, {})
        return dict(state.get(STATE, {}))

    def _since(self, kind: str) -> str | None:
        kept = self._kept(kind)
        changed = self._asked(kind).widened(kept["asked"]) if "asked" in kept else []
        found = None if changed else begins_at(kept, self._source.lag)
        if changed:
            self._client.remark(
                f"Other resources of {kind} are asked for than in the loads before ({' and '.join(changed)} changed), "
                "so all of them were exported; rows that are no longer asked for stay until a full refresh."
            )
        if found is None and self._source.since:
            return as_instant(self._source.since)
        return found

    # --- what has come --------------------------------------------------------------------------------------------

    def _of_manifest(self, exporting: Exporting, export: Export, manifest: Manifest) -> list[DltResource]:
        def renewed(file: File) -> File | None:
            there = exporting.renewed(export)
            known = manifest.output + manifest.deleted + manifest.outcome
            now = () if there is None else there.output + there.deleted + there.outcome
            return now[known.index(file)] if len(now) == len(known) else None

        files = Files(self._client, manifest.needs_token, renewed, self._source.check_complete)
        is_whole = self._tell(files, manifest)
        context, exports = self._context, exporting.exports
        if self._source.deletes is not Deletes.IGNORE and context.directory is not None and not context.full_refresh:
            exports.gone = deleted.gathered(files, manifest.deleted, context.directory, context.remarks)
        exports.end = lambda: self._end(exporting, export)

        def rows(kind: str) -> Iterator[list[Any]]:
            for file in (each for each in manifest.output if each.kind == kind):
                for values in files.values(file):
                    yield resources_of(values, kind)

        def read(kind: str) -> Iterator[list[Any]]:
            yield from gathered(ahead(lambda: rows(kind)), PAGE_ROWS)
            self._keep(kind, manifest.time if is_whole else None, export)

        return [self._resource(kind, read(kind)) for kind in self._source.resource_types]

    def _keep(self, kind: str, until: str | None, export: Export) -> None:
        """Keep how far a type has come, with its rows. `until`: None when some were not exported: they come again."""
        kept = self._kept(kind)
        before = kept.get("asked")
        widened = before is None or bool(self._asked(kind).widened(before))
        value = until or (None if widened else kept.get("value"))
        state = {"path": CURSOR, "asked": self._asked(kind).kept(None if widened else before), "export": str(export.id)}
        exported = until or kept.get("exported")
        known = {name: found for name, found in (("value", value), ("exported", exported)) if found is not None}
        dlt.current.resource_state()[STATE] = state | known

    @staticmethod
    def _end(exporting: Exporting, export: Export) -> None:
        exporting.end(export)
        exporting.exports.forget(export.id)

    def _tell(self, files: Files, manifest: Manifest) -> bool:
        """Remark what the server says of its export; whether that is whole."""
        unasked = sorted({each.kind for each in manifest.output} - set(self._source.resource_types))
        if unasked:
            self._client.remark(f"The export also has {counted(len(unasked), 'type')} that nobody asked for.")
        codes: dict[bool, dict[str, int]] = {True: {}, False: {}}
        for file in manifest.outcome:
            for outcomes in files.values(file):
                for issue in (issue for each in outcomes if isinstance(each, dict) for issue in issues_of(each)):
                    if is_bad(issue) or issue.get("severity") == "warning":
                        of_kind = codes[is_bad(issue)]
                        of_kind[code_of(issue)] = of_kind.get(code_of(issue), 0) + 1
        if codes[False]:
            self._client.remark(f"The server warns of its export ({_shown(codes[False])}).")
        if codes[True]:
            self._client.remark(
                f"The server could not export everything ({_shown(codes[True])}): what came has landed, and the next "
                "export asks for the same time again."
            )
        return not codes[True]

    def _resource(self, kind: str, pages: Iterator[list[Any]]) -> DltResource:
        resource = dlt.resource(pages, name=kind, primary_key="id", write_disposition="merge")
        return resource.add_step(ToArrow(kind, keeps_digits=True, types=self._source.types))


def _shown(codes: dict[str, int]) -> str:
    """Codes of issues, each with how often it came."""
    return ", ".join(f"{code}: {count:,}" for code, count in sorted(codes.items()))
