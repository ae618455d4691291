"""One answer: what can be read is read as it is, what can't is told as what it is, and nothing of it is quoted."""

import gzip
import json
from typing import Any

import pytest

from pipelines.errors import ConfigurationError, Fields, RunError, TransientError
from pipelines.sources.http.answers import complaint, value_of
from pipelines.sources.http.error_words import safe_words

FIELDS = Fields("source.base_url", "the place", "source.auth", "the request")


def read(content: bytes, kind: str = "application/json") -> tuple[Any, list[str]]:
    remarks: list[str] = []
    return value_of(content, kind, "http://h/x", FIELDS, remarks.append), remarks


@pytest.mark.parametrize(
    ("content", "kind", "value"),
    [
        (b'{"a": 1}', "application/json", {"a": 1}),
        (b'\xef\xbb\xbf{"a": "\xc3\xa9"}', "application/json", {"a": "é"}),
        ('{"a": "é"}'.encode("utf-16"), "application/json", {"a": "é"}),
        ('{"a": "é"}'.encode("utf-32-le"), "application/json", {"a": "é"}),
        ('{"a": "Müller"}'.encode("latin-1"), "application/json; charset=ISO-8859-1", {"a": "Müller"}),
        ('{"a": "€ß"}'.encode("cp1252"), 'text/html; charset="windows-1252"', {"a": "€ß"}),
        ('{"a": "日本"}'.encode("iso-2022-jp"), "application/json; charset=iso-2022-jp", {"a": "日本"}),
        (b'{"a": "one\ntwo\x01\t"}', "application/json", {"a": "one\ntwo\x01\t"}),
        (b'{"a": "\xc3\xa9"}', "application/json; charset=klingon", {"a": "é"}),
        (b' \r\n[{"a": null}]\n', "text/html", [{"a": None}]),
    ],
)
def test_an_answer_is_read_whatever_way_it_is_written(content: bytes, kind: str, value: Any) -> None:
    assert read(content, kind) == (value, [])


def test_numbers_that_json_does_not_have_are_read() -> None:
    value, _ = read(b'{"a": NaN, "b": -Infinity, "c": 1}')
    assert (value["a"] != value["a"], value["b"], value["c"]) == (True, float("-inf"), 1)


def test_a_bad_byte_lands_as_one_odd_character_and_is_told() -> None:
    value, remarks = read(b'[{"name": "Ren\xe9e", "id": 1}]')
    assert value == [{"name": "Ren\ufffde", "id": 1}]
    assert len(remarks) == 1
    assert "bytes that are no UTF-8" in remarks[0]
    assert "Ren" not in remarks[0]


def test_half_of_a_character_lands_as_an_odd_one_and_is_told() -> None:
    value, remarks = read(b'[{"cut": "Ren\\ud83d", "whole": "\\ud83d\\ude00", "text": "\\\\ud83d"}]')
    assert value == [{"cut": "Ren\ufffd", "whole": "\U0001f600", "text": "\\ud83d"}]
    assert len(remarks) == 1
    assert "only half is there" in remarks[0]
    assert "Ren" not in remarks[0]
    assert read(b'[{"whole": "\\ud83d\\ude00", "v": NaN}]')[1] == []


@pytest.mark.parametrize("beginning", [b"", b"[NaN], "])
def test_values_that_are_nested_too_deeply_are_told(beginning: bytes) -> None:
    with pytest.raises(ConfigurationError, match="more than 250 deep"):
        read(b"[" + beginning + b"[" * 500 + b"]" * 500 + b"]")


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ('[{"value": "canary 1", "Meyer": 1}, {"value": "canary 2", "value": 3}]', "application/json"),
        ('[{"value": "canary 1", "value": "é"}]', "application/json; charset=latin-1"),
        ('[{"value": "canary 1", "value": NaN, "note": "a\nb"}]', "application/json"),
    ],
)
def test_a_name_with_several_values_is_told(content: str, kind: str) -> None:
    charset = kind.partition("charset=")[2] or "utf-8"
    _, remarks = read(content.encode(charset), kind)
    assert remarks == [
        "An object in the answer of http://h/x gives 'value' several values: only the last one landed. "
        "Have the source give each name once."
    ]
    _, remarks = read(b'{"Meyer": 1, "Meyer": 2}')
    assert "gives one name several values" in remarks[0]


def test_commas_behind_the_last_value_are_left_out_and_told() -> None:
    content = b'[{"a": ",]", "b": "x\\",}", },\n {"c": [1, 2,],},\n]'
    value, remarks = read(content)
    assert value == [{"a": ",]", "b": 'x",}'}, {"c": [1, 2]}]
    assert len(remarks) == 1
    assert "has commas behind the last value" in remarks[0]


def test_a_charset_that_may_be_wrong_is_told() -> None:
    value, remarks = read('{"a": "é"}'.encode(), "application/json; charset=latin-1")
    assert value == {"a": "Ã©"}
    assert "it would be UTF-8 as well" in remarks[0]


@pytest.mark.parametrize(
    ("content", "kind", "words"),
    [
        (b"", TransientError, "is empty"),
        (b" \n", TransientError, "is empty"),
        (b'[{"name": "canary"}, {"na', TransientError, "broken JSON"),
        (b'[{"name": "canary"}', TransientError, "broken JSON"),
        (b'[{"name": "canary"}, {"na<br />Fatal error: canary"}]', TransientError, "broken JSON"),
        (b'{"a": 1, canary}', ConfigurationError, "was not cut off: at character 10"),
        (b"[{'name': 'canary'}]", ConfigurationError, "was not cut off: at character 3"),
        (b'[{"a": 1,, "name": "canary"}]', ConfigurationError, "was not cut off"),
        (b'{"name": "canary"}\n{"name": "canary"}\n', ConfigurationError, "JSON lines"),
        (b"<!DOCTYPE html><h1>Down for maintenance</h1>canary", TransientError, "being maintained or failed"),
        (b"<br />\n<b>Fatal error</b>: Allowed memory size of 1 canary", TransientError, "ran out of memory"),
        (b'<html><form><input type="password">canary', ConfigurationError, "check source.auth"),
        (b"<html>canary</html>", ConfigurationError, "is no JSON but a web page: check the place"),
        (b'<?xml version="1.0"?><Bundle/>', ConfigurationError, "set the header Accept"),
        (b'<Bundle xmlns="http://hl7.org/fhir">canary</Bundle>', ConfigurationError, "set the header Accept"),
        (b"Service temporarily unavailable, canary", TransientError, "can't answer now"),
        (b"canary", ConfigurationError, "is no JSON: check the place"),
        (gzip.compress(b"[]", mtime=0), ConfigurationError, "is no JSON"),
        (b"[" * 100_000, TransientError, "broken JSON"),
    ],
)
def test_an_answer_that_is_none_is_told_as_what_it_is(content: bytes, kind: type[RunError], words: str) -> None:
    with pytest.raises(kind) as caught:
        read(content)
    assert words in str(caught.value)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("said", "known", "shown"),
    [
        (
            "Unknown search parameter '_foo' for patient Mary Canary, born 1980-02-01",
            (),
            "Unknown search parameter ... for patient",
        ),
        (
            'The value of the parameter "content" is not valid',
            ("content",),
            "The value of the parameter content is not valid",
        ),
        (
            "You do not have permissions to use the API: 9A81268476645C4E5F03428B8AC3AA7B",
            (),
            "You do not have permissions to use the API",
        ),
        ("Canary Smith", (), ""),
        ("May, Theresa: is not valid", (), "is not valid"),
        ("Rate limit exceeded. Try again in 30 seconds.", (), "Rate limit exceeded. Try again in ... seconds"),
    ],
)
def test_of_a_servers_words_only_the_harmless_ones_are_shown(said: str, known: tuple[str, ...], shown: str) -> None:
    assert safe_words(said, known) == shown


def test_what_a_server_says_is_found_under_every_usual_name() -> None:
    for body in (
        {"error": "no"},
        {"error": {"code": "x", "message": "no"}},
        {"errors": [{"detail": "no"}]},
        {"issue": [{"details": {"text": "no"}}]},
        {"message": "no"},
        ["no"],
    ):
        assert "no" in complaint(json.dumps(body).encode(), "application/json")
    assert complaint(b"no", "text/plain") == "no"
    assert complaint(b"<html>no", "text/html") == ""
