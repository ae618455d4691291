"""Discovery of a REDCap project: its instruments with their fields, by the data dictionary and its identifier flag."""

from connectors.discovery import Column, Discovery, Item, ItemKind, may_identify
from connectors.sources.redcap import RedcapSource
from pipelines.sources import Context
from pipelines.sources.redcap import project_of


def discover(source: RedcapSource, context: Context, cursor: str | None) -> Discovery:
    """The instruments, in the project's order. `cursor` is not used: a dictionary is one answer."""
    fields = project_of(source, context).ask("metadata")
    identity = str(fields[0].get("field_name", "record_id")) if fields else "record_id"
    forms: dict[str, list[Column]] = {}
    for field in fields:
        name = str(field.get("field_name", ""))
        kind = str(field.get("text_validation_type_or_show_slider_number") or field.get("field_type") or "text")
        flagged = str(field.get("identifier", "")).lower() == "y"
        column = Column(name, kind, name != identity, flagged or (name != identity and may_identify(name)))
        forms.setdefault(str(field.get("form_name", "")), []).append(column)
    return Discovery(
        tuple(
            Item(form, ItemKind.FORM, tuple(columns), primary_key=(identity,))
            for form, columns in forms.items()
            if form
        )
    )
