"""Exports of trials in CDISC ODM 1.3 and 2.0 (Operational Data Model): a table an item group.

A row is one occurrence of the group, with where it stands (study, subject, event, form, and the keys by which each is
repeated) and a column an item. What the items mean stands in the codebook. Source: the ODM schemas, www.cdisc.org.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa

from connectors.sources.file_formats import AUDIT_RECORDS
from pipelines.rows.csv_to_arrow import PART_OF_DAY
from pipelines.sources.files.documents.parts import Parts
from pipelines.sources.files.documents.text_pages import TextRow, as_json, text_pages
from pipelines.sources.files.documents.trees import elements, local_name

_PLACE = {
    "SubjectData": {"SubjectKey": "subject_key"},
    "StudyEventData": {"StudyEventOID": "study_event_oid", "StudyEventRepeatKey": "study_event_repeat_key"},
    "FormData": {"FormOID": "form_oid", "FormRepeatKey": "form_repeat_key"},
    "ItemGroupData": {"ItemGroupOID": "item_group_oid", "ItemGroupRepeatKey": "item_group_repeat_key"},
    "ItemData": {"ItemOID": "item_oid"},
}
"""Attributes that say where something stands, by element, and the columns of them."""

KEYS = (
    "study_oid", "subject_key", "study_event_oid", "study_event_repeat_key", "form_oid", "form_repeat_key",
    "item_group_repeat_key",
)  # fmt: skip
"""The columns that tell one row of an item group from another. Empty where the file has no such key."""

_OUTSIDE = ("AdminData", "Association")
_UNREAD = ("{*}Signature", "{*}Annotation", "{*}Query")
"""What no table has: of a file, and of a subject."""

_TEXTS = frozenset({"text", "string", "hexBinary", "base64Binary", "URI", "partialDate", "partialTime"})
"""Types of items whose values are texts, even if all of them are digits."""

_DAYS = frozenset({
    "date", "time", "datetime", "partialDatetime", "durationDatetime", "intervalDatetime", "incompleteDate",
    "incompleteTime", "incompleteDatetime",
})  # fmt: skip
"""Types of items whose values are days or times, or parts of one, and no numbers: `2024` is a year."""


def odm_tables(
    reopen: Callable[[], Any],
    part: str,
    declare: Callable[[dict[str, str]], None] = lambda _: None,
    parts: Parts | None = None,
) -> Iterator[pa.Table]:
    """The rows of one item group, or the audit records.

    Args:
        reopen: opens the file at its beginning.
        part: the group's OID, or `AuditRecord`.
        declare: is given the types of items, by column, as far as the file says that they are texts.
        parts: takes note of all groups that there are, and of what is not read.

    Raises:
        BrokenFileError: the file is no whole XML.
    """
    yield from text_pages(_rows(reopen, part, declare, parts or Parts()))


def _rows(
    reopen: Callable[[], Any], part: str, declare: Callable[[dict[str, str]], None], parts: Parts
) -> Iterator[TextRow]:
    for element in elements(reopen, ("MetaDataVersion", "SubjectData", "ReferenceData", "AuditRecords", *_OUTSIDE)):
        name = local_name(element)
        if name == "MetaDataVersion":
            items = {_column(item.get("OID")): item.get("DataType") for item in element.iterfind(".//{*}ItemDef")}
            declare({name: "text" for name, kind in items.items() if kind in _TEXTS})
            declare({name: PART_OF_DAY for name, kind in items.items() if kind in _DAYS})
            continue
        if name in _OUTSIDE:
            parts.unread[name] += 1
            continue
        for found in element.iter("{*}ItemGroupData", "{*}AuditRecord", *_UNREAD):
            name = found.tag.rpartition("}")[2]
            if name == "ItemGroupData":
                oid = found.get("ItemGroupOID")
                parts.of_file[str(oid)] += 1
                if oid == part:
                    yield _row(found)
            elif name == AUDIT_RECORDS:
                parts.of_file[name] += 1
                if part == AUDIT_RECORDS:
                    yield _audit(found)
            else:
                parts.unread[name] += 1


def _row(group: Any) -> TextRow:
    place = {**dict.fromkeys(KEYS, ""), **_place(group)}
    place.pop("item_group_oid", None)
    row: TextRow = {**place, "transaction_type": _inherited(group, "TransactionType")}
    nulls = []
    found: defaultdict[str, list[str]] = defaultdict(list)  # an item should stand once; of one that does not, all lands
    for item in group:
        if not isinstance(item.tag, str) or not local_name(item).startswith("ItemData"):
            continue
        column = _column(item.get("ItemOID"))
        row.setdefault(column, None)
        if item.get("IsNull") == "Yes":
            nulls.append(column)
            continue
        found[column] += _values(item)
        unit = item.find("{*}MeasurementUnitRef")
        if unit is not None and (oid := unit.get("MeasurementUnitOID")):
            found[f"{column}_unit"].append(oid)
    for column, values in found.items():
        row[column] = values[0] if values else None
        if len(values) > 1:
            row[f"{column}_all"] = as_json(values)
    row["null_items"] = ", ".join(nulls) or None
    return row


def _values(item: Any) -> list[str]:
    """The values of an item: as an attribute, as elements (2.0), or as its text where its name has its type (1.3)."""
    if (value := item.get("Value")) is not None:
        return [value]
    if found := [each.text or "" for each in item.iterfind("{*}Value")]:
        return found
    return [item.text or ""] if local_name(item) != "ItemData" else []


def _column(oid: str | None) -> str:
    """The column of an item, which is no column of the place."""
    name = oid or "item"
    return f"{name}_item" if name.lower() in {*KEYS, "transaction_type", "null_items"} else name


def _place(element: Any) -> dict[str, str]:
    """Where an element stands, by column. Of groups within groups, the outer one stands as the form."""
    found: dict[str, str] = {}
    for each in (element, *element.iterancestors()):
        name = local_name(each)
        name = "ItemData" if name.startswith("ItemData") else name
        if name in {"ClinicalData", "ReferenceData"} and each.get("StudyOID"):
            found["study_oid"] = each.get("StudyOID")
        for attribute, column in _PLACE.get(name, {}).items():
            if (value := each.get(attribute)) is None:
                continue
            if name == "ItemGroupData" and column in found:
                found.setdefault(column.replace("item_group", "form"), value)
            else:
                found.setdefault(column, value)
    return found


def _inherited(element: Any, attribute: str) -> str | None:
    """An attribute of an element or of the nearest one around it that has it."""
    for each in (element, *element.iterancestors()):
        if (value := each.get(attribute)) is not None:
            return str(value)
    return None


def _audit(record: Any) -> TextRow:
    """An audit record, with where it stands and who did what when."""

    def text(name: str) -> str | None:
        found = record.find(f"{{*}}{name}")
        return None if found is None else found.text

    def oid(name: str, attribute: str) -> str | None:
        found = record.find(f"{{*}}{name}")
        return None if found is None else found.get(attribute)

    return {
        **dict.fromkeys((*KEYS, "item_group_oid", "item_oid"), ""),
        **_place(record.getparent()),
        "audit_record_id": record.get("ID"),
        "transaction_type": _inherited(record.getparent(), "TransactionType"),
        "edit_point": record.get("EditPoint"),
        "used_imputation_method": record.get("UsedImputationMethod"),
        "user_oid": oid("UserRef", "UserOID"),
        "location_oid": oid("LocationRef", "LocationOID"),
        "recorded_at": text("DateTimeStamp"),
        "reason": text("ReasonForChange"),
        "source_id": text("SourceID"),
    }


def odm_codebook(reopen: Callable[[], Any], name: str) -> Iterator[list[dict[str, Any]]]:
    """What the items of a file of that name mean, and the codes that they may have, as one page a version of it.

    Raises:
        BrokenFileError: the file is no whole XML.
    """
    for version in elements(reopen, ("MetaDataVersion",)):
        lists = {each.get("OID"): each for each in version.iterfind(".//{*}CodeList")}
        rows: list[dict[str, Any]] = []
        for position, item in enumerate(version.iterfind(".//{*}ItemDef"), start=1):
            row = {"file": name, "position": position, "variable": item.get("OID"), "missing_values": None}
            said = _translated(item.find("{*}Question")) or _translated(item.find("{*}Description"))
            rows.append({**row, "value": "", "label": said or item.get("Name"), "format": item.get("DataType")})
            chosen = item.find("{*}CodeListRef")
            codes = None if chosen is None else lists.get(chosen.get("CodeListOID"))
            for code in () if codes is None else codes:
                if isinstance(code.tag, str) and (value := code.get("CodedValue")) is not None:
                    label = _translated(code.find("{*}Decode"))
                    rows.append({**row, "value": value, "label": label, "format": None})
        if rows:
            yield rows


def _translated(element: Any) -> str | None:
    """The first translation of a text."""
    found = None if element is None else element.find("{*}TranslatedText")
    return None if found is None or not found.text else str(found.text).strip()
