"""Testing a connector before it runs: is the source there, what does it hold, what would land?

The same readers, credentials, masks and words for errors as a run's, with a limit on the rows and no destination, so
that a test which succeeds is a promise about the run.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import psycopg2  # type: ignore[import-untyped]

from connectors.connector import ConnectorRow, validate
from connectors.credentials import CredentialRules, Use, uses_of
from connectors.sources import Source
from connectors.sources.protection.rules import Profile
from connectors.sources.views.landing import NO_ROW, NUMBER
from pipelines.access import tunnels
from pipelines.access.credential_rules import rules_of_test
from pipelines.access.redaction import cleaned
from pipelines.access.secrets import Secrets
from pipelines.error_causes.classification import as_fault
from pipelines.errors import RunError, Step
from pipelines.protection.masking import mask_of
from pipelines.protection.protecting import protection_of
from pipelines.protection.stored import profile_of_test
from pipelines.remarks import Remarks
from pipelines.sources import Context
from pipelines.wording import quoted
from settings import Settings

logger = logging.getLogger("prefect.pipelines")

FIRST_ROWS = 10


@dataclass(frozen=True, slots=True)
class Sample:
    """The first rows of one table, as they would land: masked columns are masked."""

    table: str
    columns: tuple[str, ...]
    rows: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Probe:
    """What a test found: whether the source can be read, one sentence, and the first rows of each table."""

    ok: bool
    message: str
    samples: tuple[Sample, ...] = ()


def probe_connector(row: ConnectorRow, settings: Settings) -> Probe:
    """`probe` of a connector's source, with the credentials that it may name. Raises what `validate` does."""
    source = validate(row).source
    try:
        rules = rules_of_test(row, settings)
    except psycopg2.Error:
        return Probe(False, "The platform's database does not answer, so nobody knows which credentials it may use.")
    try:
        profile = profile_of_test(row, source, settings)
    except RunError as error:
        return Probe(False, str(error))
    return probe(source, settings, rules=rules, uses=uses_of(row.source, None), profile=profile)


def probe(
    source: Source,
    settings: Settings,
    rows: int = FIRST_ROWS,
    *,
    rules: CredentialRules | None = None,
    uses: Iterable[Use] = (),
    profile: Profile | None = None,
) -> Probe:
    """Reach a source and read the first `rows` rows of each table. Never raises for what is wrong with the source."""
    secrets = Secrets()
    with secrets.guard():
        try:
            with tunnels.kept(), as_fault(secrets.redact, Step.EXTRACT):
                secrets.permit(rules or CredentialRules(), uses)
                mask, protection = mask_of(source, settings), protection_of(source, settings, profile)
                remarks = Remarks()
                # Appending sources refuse a limit, for the sake of the next run. There is none here.
                context = Context.of(
                    settings, secrets, row_limit=rows, rehearsal=True, mask=mask, protection=protection, remarks=remarks
                )
                found = samples(source, context, rows)
                protection.check(remarks, every_table=False)
        except RunError as error:
            return Probe(False, str(error))
    columns = sum(len(sample.columns) for sample in found)
    said = [f"The source can be read: {len(found)} tables, {columns} columns."]
    if mask.met:
        said.append(f"Masked: {quoted(mask.met)}.")
    if protection.treated:
        said.append(f"Protected: {quoted(protection.treated)}.")
    if mask.missed:
        said.append(
            f"source.mask also names {quoted(mask.missed)}, which none of these rows has: see how it is written, "
            "for a misspelt name masks nothing, and a run that finds no such column may load nothing."
        )
    # A source may echo what it was sent.
    return Probe(True, secrets.redact(" ".join([*said, *remarks])), tuple(_clean(each, secrets) for each in found))


def _clean(sample: Sample, secrets: Secrets) -> Sample:
    rows = tuple(cleaned(row, secrets.redact) for row in sample.rows)
    return Sample(sample.table, tuple(secrets.redact(name) for name in sample.columns), rows)


def samples(source: Source, context: Context, rows: int) -> tuple[Sample, ...]:
    """The first rows of each table, as the readers give them. Raises what they do."""
    # dlt costs seconds, which importing this module must not.
    from pipelines.loading.pipeline import configure  # noqa: PLC0415
    from pipelines.rows import to_arrow  # noqa: PLC0415
    from pipelines.sources import open_source  # noqa: PLC0415
    from pipelines.sources.as_one import source_of  # noqa: PLC0415
    from pipelines.sources.together import is_made_of_others  # noqa: PLC0415

    configure()
    found = []
    for resource in open_source(source, context):
        if not is_made_of_others(resource):
            context.mask.put_into(resource)
            context.protection.put_into(resource)
        to_arrow.put_into(resource, None, context.remarks)
        landed: list[dict[str, Any]] = []
        columns: dict[str, None] = {}
        for item in source_of("rehearsal", [resource], None):
            for row in [item] if isinstance(item, dict) else item.slice(0, rows).to_pylist():
                columns.update(dict.fromkeys(row))
                landed += [row] if row.get(NUMBER) != NO_ROW else []
        found.append(Sample(resource.name, tuple(columns), tuple(landed[:rows])))
    return tuple(found)
