"""Workbooks in a load, and those that a child process reads."""

import io
import zipfile
from datetime import date, datetime
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from pipelines.sources.files.faults import BrokenFileError
from pipelines.sources.files.workbooks import by_calamine, workbook_pages
from tests.support.data_plane.platform import Platform
from tests.support.data_plane.samples import files_source

ODS = "urn:oasis:names:tc:opendocument:xmlns:"


def read(content: bytes, **keys: Any) -> tuple[list[dict[str, Any]], list[str]]:
    told: list[str] = []
    pages = workbook_pages(lambda: io.BytesIO(content), files_source(**keys), told.append)
    return [row for page in pages for row in page], told


def ods() -> bytes:
    cells = "".join(
        f"<table:table-row>{''.join(row)}</table:table-row>"
        for row in [
            ['<table:table-cell office:value-type="string"><text:p>id</text:p></table:table-cell>'] * 2
            + ['<table:table-cell office:value-type="string"><text:p>on</text:p></table:table-cell>'],
            [
                '<table:table-cell office:value-type="float" office:value="7"/>',
                '<table:table-cell office:value-type="string"><text:p>007</text:p></table:table-cell>',
                '<table:table-cell office:value-type="date" office:date-value="2024-02-29"/>',
            ],
            [
                '<table:table-cell office:value-type="percentage" office:value="0.25"/>',
                '<table:table-cell office:value-type="boolean" office:boolean-value="true"/>',
                '<table:table-cell office:value-type="date" office:date-value="2024-02-29T10:30:00"/>',
            ],
        ]
    )
    names = "".join(f' xmlns:{name}="{ODS}{name}:1.0"' for name in ("office", "table", "text"))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        archive.writestr(
            "content.xml",
            f"<office:document-content{names}><office:body><office:spreadsheet>"
            f'<table:table table:name="A">{cells}</table:table></office:spreadsheet></office:body>'
            "</office:document-content>",
        )
        kind = "application/vnd.oasis.opendocument.spreadsheet"
        name = "urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"
        archive.writestr(
            "META-INF/manifest.xml",
            f'<m:manifest xmlns:m="{name}"><m:file-entry m:full-path="/" m:media-type="{kind}"/></m:manifest>',
        )
    return buffer.getvalue()


def test_a_sheet_of_ods_is_read_by_a_child() -> None:
    rows, _ = read(ods(), format="ods")
    assert rows == [
        {"id": 7, "id_2": "007", "on": date(2024, 2, 29)},
        {"id": 0.25, "id_2": True, "on": datetime.fromisoformat("2024-02-29T10:30")},
    ]


def test_a_child_that_dies_leaves_the_file_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BrokenFileError, match="is no workbook that can be read"):
        read(b"nothing of the kind", format="xlsb")
    monkeypatch.setattr(by_calamine, "MEMORY_BYTES", 60 * 1024 * 1024)
    large = io.BytesIO(ods())
    with zipfile.ZipFile(large, "a") as archive:
        archive.writestr("Pictures/scan", bytes(80 * 1024 * 1024))
    with pytest.raises(BrokenFileError, match="takes more than 2 GB"):
        read(large.getvalue(), format="ods")


def test_workbooks_land_with_their_types(platform: Platform, inbox: Path) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.append(["Patient ID", "code", "taken", "value"])
    sheet.append([1, "007", date(2024, 2, 29), 5])
    sheet.append([2, "1.10", date(2024, 3, 1), "<5"])
    sheet.append([3, "x", None, "=1/0"])
    book.save(inbox / "a.xlsx")
    (inbox / "b.xlsx").write_bytes((inbox / "a.xlsx").read_bytes()[:-99])
    (inbox / "~$a.xlsx").write_bytes(b"a lock of Excel")
    connector = platform.add({"type": "files", "url": str(inbox), "table": "labs", "format": "xlsx", "mask": ["code"]})
    summary = platform.run(connector)
    told = " ".join(summary.remarks)
    assert (
        "a.xlsx has 1 cell without a value, of which nothing landed: a formula that was never calculated in Sheet!D4."
        in told
    )
    assert "Not loaded: b.xlsx is no whole zip file or workbook" in told
    rows = platform.duck(
        f"SELECT patient_id, length(code), taken, value, value__v_text FROM connector_{connector}.labs ORDER BY 1"
    )
    assert rows == [
        (1, 64, date(2024, 2, 29), 5, None),
        (2, 64, date(2024, 3, 1), None, "<5"),
        (3, 64, None, None, None),
    ]
