"""Discovery of a REDCap project: its instruments with their columns, by the data dictionary and its identifier flag."""

from collections.abc import Iterator

from connectors.discovery import Column, Discovery, Item, ItemKind, may_identify
from connectors.sources.redcap import Checkboxes, Layout, RedcapSource
from pipelines.sources import Context
from pipelines.sources.redcap import project_of
from pipelines.sources.redcap.dictionary import Dictionary, Field, box_columns
from pipelines.sources.redcap.keys import RECORD_KEYS


def discover(source: RedcapSource, context: Context, cursor: str | None) -> Discovery:
    """The instruments, in the project's order. `cursor` is not used: a dictionary is one answer."""
    dictionary = Dictionary.of(project_of(source, context).ask("metadata"))
    key = (dictionary.identity, *(RECORD_KEYS if source.layout is Layout.BY_INSTRUMENT else ()))
    return Discovery(
        tuple(
            Item(
                form,
                ItemKind.FORM,
                tuple(
                    column
                    for field in dictionary.fields
                    if field.form == form
                    for column in _columns(field, source, dictionary.identity)
                ),
                primary_key=key,
            )
            for form in dictionary.forms
        )
    )


def _columns(field: Field, source: RedcapSource, identity: str) -> Iterator[Column]:
    """The columns of a field, as they land: of checkboxes one for each choice, unless they land as one list."""
    identifying = field.identifier or (field.name != identity and may_identify(field.name))
    names = [field.name] if field.has_column else []
    if field.kind == "checkbox":
        names = [field.name] if source.checkboxes is Checkboxes.CODES else box_columns(field)
    for name in names:
        yield Column(name, field.validation or field.kind, field.name != identity, identifying)
