"""Workbooks cell by cell: what openpyxl reads is what is read, and what has no value is told."""

import io
import random
import zipfile
from datetime import date, datetime, time, timedelta
from typing import Any

import openpyxl
import pytest
from openpyxl.utils.datetime import CALENDAR_MAC_1904
from pydantic import TypeAdapter

from connectors.sources.files import FilesSource
from pipelines.sources.files.faults import BrokenFileError
from pipelines.sources.files.workbooks import letters, workbook_pages

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
LINKS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


def read(content: bytes, **keys: Any) -> tuple[list[dict[str, Any]], list[str]]:
    """The rows of a workbook, and what is told of it."""
    source = TypeAdapter(FilesSource).validate_python({"type": "files", "url": "/in", "format": "xlsx", **keys})
    told: list[str] = []
    pages = workbook_pages(lambda: io.BytesIO(content), source, told.append)
    return [row for page in pages for row in page], told


def moment(*parts: int) -> datetime:
    """A moment as cells have it: without a zone."""
    return datetime(*parts)  # type: ignore[arg-type]  # noqa: DTZ001


def saved(book: openpyxl.Workbook) -> bytes:
    buffer = io.BytesIO()
    book.save(buffer)
    return buffer.getvalue()


def of_rows(*rows: list[Any]) -> openpyxl.Workbook:
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    return book


def by_hand(sheet: str, texts: str = "", styles: str = "", old: bool = False, prefix: str = "") -> bytes:
    """A workbook of one sheet whose XML is given."""
    buffer = io.BytesIO()
    mark = f"xmlns{':' * bool(prefix)}{prefix.rstrip(':')}"
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            "_rels/.rels",
            f'<Relationships><Relationship Id="r" Type="{LINKS}/officeDocument" Target="xl/workbook.xml"/>'
            "</Relationships>",
        )
        archive.writestr(
            "xl/workbook.xml",
            f'<workbook xmlns="{MAIN}" xmlns:r="{LINKS}"><workbookPr date1904="{int(old)}"/>'
            '<sheets><sheet name="One" sheetId="1" r:id="rId1"/></sheets></workbook>',
        )
        kinds = {"worksheet": "worksheets/one.xml", "sharedStrings": "texts.xml", "styles": "styles.xml"}
        archive.writestr(
            "xl/_rels/workbook.xml.rels",
            "<Relationships>"
            + "".join(
                f'<Relationship Id="rId{number}" Type="{LINKS}/{kind}" Target="{target}"/>'
                for number, (kind, target) in enumerate(kinds.items(), start=1)
            )
            + "</Relationships>",
        )
        archive.writestr("xl/worksheets/one.xml", f'<{prefix}worksheet {mark}="{MAIN}">{sheet}</{prefix}worksheet>')
        archive.writestr("xl/texts.xml", f'<sst xmlns="{MAIN}">{texts}</sst>')
        archive.writestr("xl/styles.xml", f'<styleSheet xmlns="{MAIN}">{styles}</styleSheet>')
    return buffer.getvalue()


def a_value(draw: random.Random) -> Any:
    return draw.choice(
        [
            None,
            draw.randint(-(10**15), 10**15),
            draw.uniform(-1e6, 1e6),
            draw.choice(["007", "=", "a\nb", "ä€😀", " x ", "<&>", "1e5", "TRUE", "2024-01-01"]),
            draw.random() < 0.5,
            moment(1900, 3, 1) + timedelta(days=draw.randint(0, 80_000), milliseconds=draw.randint(1, 86_399_999)),
            date(1900, 3, 1) + timedelta(days=draw.randint(0, 80_000)),
            time(draw.randint(0, 23), draw.randint(0, 59), draw.randint(1, 59)),
        ]
    )


@pytest.mark.parametrize("seed", range(6))
def test_each_cell_is_what_openpyxl_reads(seed: int) -> None:
    draw = random.Random(seed)
    book = openpyxl.Workbook()
    if seed % 2:
        book.epoch = CALENDAR_MAC_1904
    sheet = book.active
    assert sheet is not None
    sheet.append([f"c{number}" for number in range(8)])
    for _ in range(300):
        row = [a_value(draw) for _ in range(8)]
        sheet.append([value if value != "=" else "'=" for value in row])
    content = saved(book)
    expected = []
    formats = []
    for row in openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True).active.iter_rows(min_row=2):
        formats.append([cell.number_format if cell.value is not None else "" for cell in row])
        expected.append([cell.value for cell in row])
    rows, told = read(content)
    assert told == []
    expected_rows = [
        # A day stays a day where the cell shows no clock; openpyxl makes all of them moments.
        [
            value.date() if form == "yyyy-mm-dd" and isinstance(value, datetime) else value
            for value, form in zip(*pair, strict=True)
        ]
        for pair in zip(expected, formats, strict=True)
        if any(value is not None for value in pair[0])
    ]
    assert [list(row.values()) for row in rows] == expected_rows
    assert [[type(value) for value in row.values()] for row in rows] == [[*map(type, row)] for row in expected_rows]


CELLS = """<sheetData>
<row><c t="inlineStr"><is><t>text</t></is></c><c t="inlineStr"><is><t>day</t></is></c><c t="str"><v>n</v></c></row>
<row r="3"><c r="A3" t="s"><v>0</v></c><c r="B3" s="1"><v>59.5</v></c><c r="C3" s="3"><v>1.125</v></c></row>
<row r="4"><c r="A4" t="s"><v>1</v></c><c r="B4" s="1"><v>60</v></c><c r="C4"><v>1E-3</v></c></row>
<row r="5"><c r="A5" t="e"><v>#DIV/0!</v></c><c r="B5" s="2"><v>0.5</v></c><c r="C5"><f>A1+1</f></c></row>
<row r="6"><c r="B6" s="1"><v>99999999</v></c><c r="C6" s="4"><v>0.25</v></c><c r="E6" t="b"><v>1</v></c></row>
<row r="7"><c r="A7" t="d"><v>2024-05-06</v></c><c r="C7"><f>A1</f><v>12</v></c></row>
</sheetData>"""
TEXTS = (
    "<si><r><t>rich </t></r><r><rPr><b/></rPr><t>text</t></r><rPh><t>aloud</t></rPh></si>"
    "<si><t>a_x000D_b_x005F_x0041_</t></si>"
)
STYLES = (
    '<numFmts><numFmt numFmtId="164" formatCode="yyyy\\-mm\\-dd;@"/>'
    '<numFmt numFmtId="165" formatCode="[h]:mm"/></numFmts>'
    '<cellXfs><xf numFmtId="0"/><xf numFmtId="164"/><xf numFmtId="20"/><xf numFmtId="165"/><xf numFmtId="9"/></cellXfs>'
)


@pytest.mark.parametrize("prefix", ["", "x:"])
def test_odd_cells_are_read_and_those_without_a_value_told(prefix: str) -> None:
    cells = CELLS.replace("</", "§").replace("<", f"<{prefix}").replace("§", f"</{prefix}")
    rows, told = read(by_hand(cells, TEXTS, STYLES, prefix=prefix))
    assert rows == [
        {"text": "rich text", "day": moment(1900, 2, 28, 12), "n": "PT97200S"},
        {"text": "a\rb_x0041_", "day": date(1900, 2, 28), "n": 0.001},
        {"text": None, "day": time(12), "n": None},
        {"text": None, "day": None, "n": 0.25, "column_4": None, "column_5": True},
        {"text": date(2024, 5, 6), "day": None, "n": 12, "column_4": None, "column_5": None},
    ]
    assert told == [
        "has 3 cells without a value, of which nothing landed: #DIV/0! in One!A5, "
        "a formula that was never calculated in One!C5, "
        "a date that no calendar has in One!B6"
    ]


def test_both_epochs() -> None:
    cells = '<sheetData><row r="1"><c r="A1" t="str"><v>d</v></c></row><row r="2">'
    cells += '<c r="A2" s="1"><v>40000</v></c></row></sheetData>'
    assert read(by_hand(cells, "", STYLES))[0] == [{"d": date(2009, 7, 6)}]
    assert read(by_hand(cells, "", STYLES, old=True))[0] == [{"d": date(2013, 7, 7)}]


def test_sheets_by_name_by_pattern_and_all() -> None:
    book = of_rows(["id"], [1])
    for number, name in enumerate(["2023", "2024", "Notes"], start=2):
        sheet = book.create_sheet(name)
        sheet.append(["id"])
        sheet.append([number])
    book["2023"].sheet_state = "hidden"
    content = saved(book)

    def ids(sheet: str | None) -> list[int]:
        return [row["id"] for row in read(content, sheet=sheet)[0]]

    assert [ids(None), ids("2024"), ids("20*"), ids("*"), ids("notes")] == [[1], [3], [2, 3], [1, 2, 3, 4], [4]]
    assert "has 4 sheets, of which the first, 'Sheet', was read" in read(content)[1][0]
    with pytest.raises(BrokenFileError, match="has no sheet 'Labs': it has 'Sheet', '2023', '2024' and 1 more"):
        read(content, sheet="Labs")


def test_titles_over_several_rows_and_merged_ones() -> None:
    book = of_rows(
        ["Ward 3, March"],
        [],
        ["Patient", "Vitals", None, "Vitals"],
        [None, "systolic", "diastolic", "systolic"],
        [1, 120, 80, 121],
        [],
        [2, 130, 90, None],
        ["Sum", 250, 170],
    )
    book.active.merge_cells("A3:A4")
    book.active.merge_cells("B3:C3")
    rows, _ = read(saved(book), skip=1, header_rows=2, skip_end=1)
    assert rows == [
        {"Patient": 1, "Vitals systolic": 120, "Vitals diastolic": 80, "Vitals systolic_2": 121},
        {"Patient": 2, "Vitals systolic": 130, "Vitals diastolic": 90, "Vitals systolic_2": None},
    ]


def test_names_given_and_no_names() -> None:
    content = saved(of_rows([1, "NA"], [2, "x"]))
    assert read(content, header=["id", "v"], null_values=["NA"])[0] == [{"id": 1, "v": None}, {"id": 2, "v": "x"}]
    assert read(content, header=False)[0] == [{"column_1": 1, "column_2": "NA"}, {"column_1": 2, "column_2": "x"}]


def test_hostile_and_damaged_workbooks_are_refused() -> None:
    content = saved(of_rows(["id"], [1]))
    with pytest.raises(BrokenFileError, match="cut or damaged"):
        read(content[:-40])
    with pytest.raises(BrokenFileError, match="cut or damaged"):
        read(b"id;v\n1;2\n")
    entity = '<!DOCTYPE a [<!ENTITY b "bb">]>'
    bomb = by_hand("<sheetData/>")
    for name, text, said in [
        ("xl/worksheets/one.xml", f"{entity}<worksheet><row><c t='str'><v>&unknown;</v></c></row>", "damaged"),
        ("xl/worksheets/one.xml", " " * 80_000_000, "unpacks to more than 250 times its size"),
    ]:
        buffer = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(bomb)) as old, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new:
            for member in old.namelist():
                new.writestr(member, text if member == name else old.read(member))
        with pytest.raises(BrokenFileError, match=said):
            read(buffer.getvalue())


def test_external_entities_are_not_read(tmp_path: Any) -> None:
    (tmp_path / "secret").write_text("TOP-SECRET")
    sheet = f'<!DOCTYPE w [<!ENTITY e SYSTEM "file://{tmp_path}/secret">]><worksheet xmlns="{MAIN}"><sheetData>'
    sheet += '<row><c t="str"><v>h</v></c></row><row><c t="str"><v>&e;</v></c></row></sheetData></worksheet>'
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(by_hand(""))) as old, zipfile.ZipFile(buffer, "w") as new:
        for member in old.namelist():
            new.writestr(member, sheet if member.endswith("one.xml") else old.read(member))
    try:
        rows, _ = read(buffer.getvalue())
    except BrokenFileError:
        rows = []
    assert "TOP-SECRET" not in str(rows)


def test_letters_of_columns() -> None:
    assert [letters(place) for place in (0, 25, 26, 701, 702)] == ["A", "Z", "AA", "ZZ", "AAA"]
