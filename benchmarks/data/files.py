"""Files for the figures of workbooks and of transport files: a million rows of a trial, made without holding them."""

import struct
import zipfile
from pathlib import Path

import numpy as np

NAMES = ("USUBJID", "AVAL", "AGE", "VISITNUM", "PARAM", "ADT")
SHEET = "xl/worksheets/sheet1.xml"
_PARAMS = ("Systolic", "Diastolic", "Pulse")
_BLOCK = 10_000


def write_xlsx(path: Path, rows: int) -> None:
    """A workbook as Excel writes them: texts that the sheet shares, numbers, and days by their format."""
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    rels = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    texts = [*NAMES, *_PARAMS, *(f"01-701-{1000 + number}" for number in range(9_000))]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as book:
        overrides = (
            f'<Override PartName="/xl/workbook.xml" ContentType="{kind}.sheet.main+xml"/>'
            f'<Override PartName="/{SHEET}" ContentType="{kind}.worksheet+xml"/>'
            f'<Override PartName="/xl/styles.xml" ContentType="{kind}.styles+xml"/>'
            f'<Override PartName="/xl/sharedStrings.xml" ContentType="{kind}.sharedStrings+xml"/>'
        )
        links = (
            ("worksheet", "worksheets/sheet1.xml"), ("styles", "styles.xml"), ("sharedStrings", "sharedStrings.xml"),
        )  # fmt: skip
        parts = {
            "[Content_Types].xml": f'<Types xmlns="{package}/content-types"><Default Extension="rels" '
            f'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>{overrides}</Types>',
            "_rels/.rels": f'<Relationships xmlns="{package}/relationships"><Relationship Id="r1" '
            f'Type="{rels}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
            "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{rels}"><sheets><sheet name="ADVS" sheetId="1" '
            'r:id="r1"/></sheets></workbook>',
            "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{package}/relationships">'
            + "".join(
                f'<Relationship Id="r{place}" Type="{rels}/{name}" Target="{target}"/>'
                for place, (name, target) in enumerate(links, start=1)
            )
            + "</Relationships>",
            "xl/styles.xml": f'<styleSheet xmlns="{main}"><fonts count="1"><font/></fonts>'
            '<fills count="1"><fill><patternFill patternType="none"/></fill>'
            '</fills><borders count="1"><border/></borders><cellStyleXfs count="1"><xf/></cellStyleXfs>'
            '<cellXfs count="2"><xf numFmtId="0"/><xf numFmtId="14" applyNumberFormat="1"/></cellXfs></styleSheet>',
            "xl/sharedStrings.xml": f'<sst xmlns="{main}">{"".join(f"<si><t>{text}</t></si>" for text in texts)}</sst>',
        }
        for name, text in parts.items():
            book.writestr(name, text)
        with book.open(SHEET, "w", force_zip64=True) as sheet:
            sheet.write(f'<worksheet xmlns="{main}"><sheetData>'.encode())
            cells = "".join(f'<c r="{letter}1" t="s"><v>{place}</v></c>' for place, letter in enumerate("ABCDEF"))
            sheet.write(f'<row r="1">{cells}</row>'.encode())
            for start in range(0, rows, _BLOCK):
                sheet.write("".join(_row(number) for number in range(start, min(start + _BLOCK, rows))).encode())
            sheet.write(b"</sheetData></worksheet>")


def _row(number: int) -> str:
    at = number + 2
    return (
        f'<row r="{at}"><c r="A{at}" t="s"><v>{9 + number % 9_000}</v></c><c r="B{at}"><v>{number % 2_000 / 10}</v></c>'
        f'<c r="C{at}"><v>{18 + number % 70}</v></c><c r="D{at}"><v>{1 + number % 30}</v></c>'
        f'<c r="E{at}" t="s"><v>{6 + number % 3}</v></c><c r="F{at}" s="1"><v>{41_000 + number % 4_000}</v></c></row>'
    )


def write_xpt(path: Path, rows: int) -> None:
    """A transport file of version 5 with the same rows."""

    def header(name: str, tail: str = "0" * 30) -> bytes:
        return f"HEADER RECORD*******{name:<8}HEADER RECORD!!!!!!!{tail}  ".encode()

    now = b"01JAN26:00:00:00"
    sas = b"SAS     SAS     SASLIB  9.4     X64" + b" " * 29 + now
    member = b"SAS     ADVS    SASDATA 9.4     X64" + b" " * 29 + now
    widths = (16, 8, 8, 8, 16, 8)
    with path.open("wb") as file:
        file.write(header("LIBRARY") + sas + now.ljust(80))
        file.write(header("MEMBER", "000000000000000001600000000140"))
        file.write(header("DSCRPTR") + member + now.ljust(80))
        file.write(header("NAMESTR", f"000000{len(NAMES):04}00000000000000000000"))
        start, described = 0, b""
        for place, (name, width) in enumerate(zip(NAMES, widths, strict=True), start=1):
            described += struct.pack(
                ">hhhh8s40s8shhh2s8shhl52s",
                *(2 if width > 8 else 1, 0, width, place, name.encode().ljust(8), name.encode().ljust(40)),
                *(b"DATE    " if name == "ADT" else b" " * 8, 9 if name == "ADT" else 0, 0, 0, b"", b" " * 8, 0, 0),
                *(start, b""),
            )
            start += width
        file.write(described.ljust(-(-len(described) // 80) * 80))
        file.write(header("OBS"))
        for begin in range(0, rows, _BLOCK):
            file.write(_records(np.arange(begin, min(begin + _BLOCK, rows))))
        file.write(b" " * (-file.tell() % 80))


def _records(numbers: "np.ndarray[tuple[int], np.dtype[np.int64]]") -> bytes:
    records = np.zeros(len(numbers), "S16,>u8,>u8,>u8,S16,>u8")
    records["f0"] = [f"01-701-{1000 + number % 9_000}".ljust(16).encode() for number in numbers]
    records["f4"] = [_PARAMS[number % 3].ljust(16).encode() for number in numbers]
    # Excel counts the first day of SAS as 21,916.
    days = 41_000 - 21_916 + numbers % 4_000
    for name, values in (
        ("f1", numbers % 2_000 / 10),
        ("f2", 18 + numbers % 70),
        ("f3", 1 + numbers % 30),
        ("f5", days),
    ):
        records[name] = _of_mainframes(values.astype(np.float64))
    return records.tobytes()


def _of_mainframes(
    values: "np.ndarray[tuple[int], np.dtype[np.float64]]",
) -> "np.ndarray[tuple[int], np.dtype[np.uint64]]":
    """Numbers of at least 0 as IBM's mainframes have them, cut to the 56 bits that they have."""
    _, twos = np.frexp(values)
    sixteens = -(-twos // 4)
    mantissa = np.ldexp(values, 56 - 4 * sixteens).astype(np.uint64)
    found = mantissa | ((sixteens + 64).astype(np.uint64) << np.uint64(56))
    return np.where(values == 0, np.uint64(0), found)
