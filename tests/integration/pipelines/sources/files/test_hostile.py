"""Files that mean harm: refused by name, within limits of memory and time, and nothing outside of them is read."""

import gzip
import io
import json
import re
import resource
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from pipelines.sources.files import decoding
from pipelines.sources.files.documents import trees
from tests.support.data_plane.platform import Platform

LAUGHS = (
    '<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]>'
)
OUTSIDE = '<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/hostname">]>'
TRIAL = (
    "<ODM><ClinicalData><SubjectData SubjectKey='1'><ItemGroupData ItemGroupOID='IG'>&a;</ItemGroupData></SubjectData>"
    "</ClinicalData></ODM>"
)
ROWS = "<export><patient>&a;</patient></export>"


def changed(book: bytes, part: str, change: Callable[[bytes], bytes]) -> bytes:
    """A workbook with one part changed."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(book)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, change(old.read(name)) if name == part else old.read(name))
    return out.getvalue()


def workbook() -> bytes:
    out = io.BytesIO()
    book = openpyxl.Workbook()
    book.active.append(["id"])
    book.active.append([1])
    book.save(out)
    return out.getvalue()


def with_declaration(declaration: str) -> Callable[[bytes], bytes]:
    return lambda part: declaration.encode() + part.replace(b"<v>1</v>", b"<v>&a;</v>")


SHEET = "xl/worksheets/sheet1.xml"
HOSTILE: dict[str, tuple[bytes, dict[str, Any], str]] = {
    "laughs.xml": (f"{LAUGHS}{ROWS}".encode(), {"row_path": "/export/patient"}, "declares a document type"),
    "outside.xml": (f"{OUTSIDE}{ROWS}".encode(), {"row_path": "/export/patient"}, "is no whole XML"),
    "deep.xml": (b"<export>" + b"<patient>" * 100_000, {"row_path": "/export/patient"}, "is no whole XML"),
    "wide.csv": (b"c," * 30_000 + b"c\n" + b"," * 30_000 + b"\n", {}, "has more than 20,000 columns"),
    "wide.jsonl": (
        json.dumps({str(number): 1 for number in range(30_000)}).encode(), {}, "has more than 20,000 columns",
    ),
    "laughs.odm": (f"{LAUGHS}{TRIAL}".encode(), {"format": "odm", "parts": ["IG"]}, "declares a document type"),
    "outside.odm": (f"{OUTSIDE}{TRIAL}".encode(), {"format": "odm", "parts": ["IG"]}, "is no whole XML"),
    "laughs.xlsx": (changed(workbook(), SHEET, with_declaration(LAUGHS)), {}, "declares a document type in"),
    "outside.xlsx": (changed(workbook(), SHEET, with_declaration(OUTSIDE)), {}, "declares a document type in"),
    "bomb.xlsx": (changed(workbook(), SHEET, lambda _: bytes(80_000_000)), {}, "unpacks to more than 250 times"),
    "deep.xlsx": (changed(workbook(), SHEET, lambda _: b"<a>" * 100_000), {}, "is no workbook that can be read"),
    "far.xlsx": (
        changed(workbook(), SHEET, lambda part: part.replace(b'r="A2"', b'r="ZZZZ2"')), {}, "more than 16,384 cells",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_named_and_left(platform: Platform, inbox: Path, name: str) -> None:
    content, keys, words = HOSTILE[name]
    (inbox / name).write_bytes(content)
    connector = platform.add({"type": "files", "url": str(inbox), "table": "t", "glob": name, **keys})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    with pytest.raises(Exception, match=f"{name} .*{words}"):
        platform.run(connector)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_utime - before < 10


def test_formulas_are_text_or_what_they_last_were(platform: Platform, inbox: Path) -> None:
    book = openpyxl.Workbook()
    for row in (["id", "cell"], [1, "=1+1"], [2, "=HYPERLINK(A1)"]):
        book.active.append(row)
    book.save(inbox / "a.xlsx")
    (inbox / "b.csv").write_text("id,cell\n1,=1+1\n2,\"=cmd|' /C calc'!A0\"\n")
    tables = [{"table": "book", "format": "xlsx"}, {"table": "text", "format": "csv"}]
    connector = platform.add({"type": "files", "url": str(inbox), "tables": tables})
    told = platform.run(connector).sentence
    assert (
        "a.xlsx has 2 cells without a value, of which nothing landed: a formula that was never calculated in Sheet!B2"
        in told
    )
    assert platform.duck(f"SELECT id FROM connector_{connector}.book ORDER BY 1") == [(1,), (2,)]
    assert platform.duck(f"SELECT cell FROM connector_{connector}.text ORDER BY id") == [
        ("=1+1",),
        ("=cmd|' /C calc'!A0",),
    ]


ENDLESS: dict[str, tuple[bytes, bytes, dict[str, Any], str]] = {
    "a.csv.gz": (b"id,v\n1,", b"a", {}, "has a line of more than"),
    "a.jsonl.gz": (b'{"a":"', b"a", {}, "has a line of more than"),
    "a.txt.gz": (
        b"",
        b"a",
        {"format": "fixed", "fields": [{"name": "id", "first": 1, "last": 4}]},
        "has a line of more",
    ),
    "a.hl7.gz": (b"MSH|^~\\&|a\rPID|1|", b"a", {"parts": ["PID"]}, "has a line of more than"),
    "a.json.gz": (b'{"columns":[{"name":"a"}],"rows":[["', b"a", {"format": "dataset_json"}, "one part that is larger"),
    "b.json.gz": (b'{"columns":[', b"{},", {"format": "dataset_json"}, "one part that is larger"),
    "a.xml.gz": (b"<export><patient>", b"<b/>", {"row_path": "/export/patient"}, "has one part that is larger"),
    "b.xml.gz": (
        b"<export><patient>",
        b"a",
        {"row_path": "/export/patient"},
        "(is no whole XML|has one part that is larger)",
    ),
    "c.xml.gz": (b"<ODM><SubjectData>", b"<b/>", {"format": "odm", "parts": ["IG"]}, "has one part that is larger"),
}
"""Files that unpack to one thing without an end: how they begin, what follows, how they are read, and what is said."""


@pytest.mark.parametrize("name", ENDLESS)
def test_one_thing_without_an_end_is_refused(
    platform: Platform, inbox: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "LONGEST_LINE_BYTES", 4_000_000)
    monkeypatch.setattr(trees, "MOST_BYTES", 4_000_000)
    monkeypatch.setattr(trees, "MOST_TAGS", 100_000)
    start, unit, keys, words = ENDLESS[name]
    (inbox / name).write_bytes(gzip.compress(start + unit * (12_000_000 // len(unit)), 1, mtime=0))
    connector = platform.add({"type": "files", "url": str(inbox), "table": "t", "glob": name, **keys})
    with pytest.raises(Exception, match=f"{name} .*{words}"):
        platform.run(connector)


_READ = """
import json, sys
from pathlib import Path
from pipelines.access.secrets import Secrets
from pipelines.sources import Context
from pipelines.sources.files.reading import Reading
from pipelines.sources.files.finding import find
from pipelines.sources.files.holding import WholeFiles
from tests.support.data_plane.samples import files_source

path, keys = Path(sys.argv[1]), json.loads(sys.argv[2])
source = files_source(url=str(path), glob=path.name, **keys).model_copy(update={"url": str(path.parent)})
context = Context(Secrets(), local_file_roots=(path.parent,))
store, choice = find(source, context)
reading = Reading(source, context, store, choice, WholeFiles(None), next(iter(source.parts), None))
for file in choice.files:
    for _ in reading._tried(file, None):
        pass
most = next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(json.dumps([reading.broken, int(most) // 1024]))
"""


@pytest.mark.soak
@pytest.mark.parametrize("name", ENDLESS)
def test_one_thing_without_an_end_takes_little_memory(tmp_path: Path, name: str) -> None:
    start, unit, keys, words = ENDLESS[name]
    with gzip.open(tmp_path / name, "wb", compresslevel=1) as file:
        file.write(start)
        for _ in range(400):
            file.write(unit * (1_000_000 // len(unit)))
    keys = {"format": name.split(".")[1], **keys}
    answer = subprocess.run(
        [sys.executable, "-c", _READ, str(tmp_path / name), json.dumps(keys)],
        capture_output=True,
        text=True,
        check=True,
    )
    (broken,), most = json.loads(answer.stdout)
    assert re.search(words, broken)
    assert most < 450
