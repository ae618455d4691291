"""Messages of HL7 v2: what a reference parser says of them, escapes, repetitions, and files that are refused."""

import io
from typing import Any

import pyarrow as pa
import pytest
from hl7apy.parser import parse_message

from pipelines.sources.files.documents.hl7 import Separators, segment_tables, unescaped
from pipelines.sources.files.faults import BrokenFileError
from tests.support.data_plane.documents import ORU
from tests.support.data_plane.samples import files_source


def rows(text: str | bytes, part: str, **keys: Any) -> list[dict[str, Any]]:
    content = text.encode() if isinstance(text, str) else text
    tables = list(segment_tables(lambda: io.BytesIO(content), files_source(format="hl7", parts=[part], **keys), part))
    return [{name: value for name, value in row.items() if value is not None} for row in _rows(tables)]


def _rows(tables: list[pa.Table]) -> list[dict[str, Any]]:
    return [row for table in tables for row in table.to_pylist()]


def test_each_part_of_a_field_is_a_column() -> None:
    (pid,) = rows(ORU, "PID")
    assert pid == {
        "message_id": "m-1",
        "message_type": "ORU^R01^ORU_R01",
        "message_time": "20240229103000+0100",
        "message_number": "1",
        "position": "2",
        "pid_1": "1",
        "pid_3": "4711",
        "pid_3_4": "KH",
        "pid_3_5": "MR",
        "pid_3_all": '[{"1":"4711","4":"KH","5":"MR"},{"1":"X123","4":"GKV","5":"NI"}]',
        "pid_5": "Müller",
        "pid_5_2": "Jörg",
        "pid_5_5": "Dr.",
        "pid_5_5_2": "med.",
        "pid_7": "19610504",
        "pid_8": "M",
        "pid_11": "Am Wall 1",
        "pid_11_3": "Kiel",
    }


def test_a_result_knows_its_order_and_an_emptied_value_is_no_absent_one() -> None:
    first, second = rows(ORU, "OBX")
    assert (first["obr_position"], first["position"], first["obx_5"], first["obx_3_2"]) == ("3", "4", "13.50", "Hb")
    assert (second["obr_position"], second["obx_5"]) == ("6", '""')
    (header,) = rows(ORU, "MSH")
    assert (header["msh_1"], header["msh_2"], header["msh_3"], header["msh_4_2"], header["msh_12"]) == (
        "|", "^~\\&", "LAB", "1.2.3", "2.5.1",
    )  # fmt: skip


def test_escapes_are_undone_and_what_is_not_known_stands() -> None:
    assert rows(ORU, "NTE")[0]["nte_3"] == 'Zeile 1\nZeile 2 \\Zowner\\ A ""'
    assert [(row["obr_2"], row["obr_3"]) for row in rows(ORU, "OBR")[:1]] == [("A&B", "F|G")]
    assert rows(ORU, "ZPI")[0]["zpi_1"] == "~^\\"
    separators = Separators.of("MSH|^~\\&|", 1)
    assert unescaped("\\XC3A4\\ \\XFF\\ \\H\\x\\N\\", separators) == "ä \\XFF\\ \\H\\x\\N\\"


def test_values_are_those_that_a_reference_parser_has() -> None:
    plain = ORU.replace("\\.br\\", " ").replace("\\Zowner\\", "").replace("\\X41\\", "").replace("~X123^^^GKV^NI", "")
    message = parse_message(
        "\r".join(line for line in plain.split("\r") if not line.startswith("ZPI")) + "\r", find_groups=False
    )
    compared = 0
    for part in ("PID", "OBX"):
        for row, segment in zip(rows(plain, part), getattr(message, part.lower()), strict=True):
            for field in segment.children:
                number = field.name.rpartition("_")[2]
                for component in field.children:
                    place = component.name.rpartition("_")[2] if component.name[-1].isdigit() else "1"
                    column = f"{part.lower()}_{number}" + ("" if place == "1" else f"_{place}")
                    assert row[column] == component.children[0].to_er7(), column
                    compared += 1
    assert compared > 20


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\x1c\r\x0b"])
def test_lines_end_as_they_like(end: str) -> None:
    if end.startswith("\x1c"):
        text = "\x0b" + ORU + "\x1c\r\x0b" + ORU.replace("m-1", "m-2") + "\x1c\r"
    else:
        text = (ORU + ORU.replace("m-1", "m-2")).replace("\r", end)
    found = rows(text, "PID")
    assert [(row["message_id"], row["message_number"], row["pid_5"]) for row in found] == [
        ("m-1", "1", "Müller"),
        ("m-2", "2", "Müller"),
    ]


def test_other_separators_are_those_of_the_header() -> None:
    assert rows("MSH#*~!%#A\rPID#1##7*8%9\r", "PID")[0] == {
        "message_number": "1", "position": "2", "pid_1": "1", "pid_3": "7", "pid_3_2": "8", "pid_3_2_2": "9",
    }  # fmt: skip


BATCH = "FHS|^~\\&|A\rBHS|^~\\&|A\r" + ORU + ORU + "BTS|{}\rFTS|1\r"


def test_a_batch_holds_what_it_says() -> None:
    assert len(rows(BATCH.format(2), "PID")) == 2
    with pytest.raises(BrokenFileError, match="says in line 19 that the batch has 3 messages, and it has 2"):
        rows(BATCH.format(3), "PID")
    with pytest.raises(BrokenFileError, match="is cut: its FHS has no end"):
        rows(BATCH.format(2).replace("FTS|1\r", ""), "PID")
    # Of a file its batches are counted; some senders count its messages.
    assert len(rows(BATCH.format(2).replace("FTS|1", "FTS|2"), "PID")) == 2
    with pytest.raises(BrokenFileError, match="that the file has 3 batches, and it has 1, of 2 messages"):
        rows(BATCH.format(2).replace("FTS|1", "FTS|3"), "PID")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("PID|1\r", "in line 1 that belongs to no message"),
        ("MSH|^~\\&|A\rOBX|1|ST|x||first\nsecond line of the text|\r", "has no segment in line 3: a line break"),
        ("MSH\rPID|1\r", "names no separators"),
        ("MSH|^~\\&|A\rPID|" + "x|" * 30_000 + "\r", "has more than 20,000 columns"),
        (ORU.replace("UNICODE UTF-8", "8859/2"), "set encoding to 'iso8859-2'"),
        (ORU.replace("UNICODE UTF-8", "KS X 1001"), "not known here: set encoding"),
    ],
)
def test_a_file_that_is_not_what_it_should_be_is_refused_without_its_words(text: str, words: str) -> None:
    with pytest.raises(BrokenFileError) as error:
        rows(text, "PID")
    assert words in str(error.value)
    assert "second" not in str(error.value)


def test_another_character_set_is_read_as_the_connector_says() -> None:
    text = ORU.replace("UNICODE UTF-8", "8859/2").replace("Müller", "Šafář").encode("iso8859-2")
    assert rows(text, "PID", encoding="iso8859-2")[0]["pid_5"] == "Šafář"
