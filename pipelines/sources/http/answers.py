"""One answer of a server as the JSON value in it, however it was written.

Real servers send a byte order mark, Latin-1, raw line breaks in texts, NaN, one broken byte, half of a body, a page for
people with status 200. What can be read is read; where a character can't be, the run says so; and what is no answer at
all is an error of the kind that it is: one that may pass, or one that the user must mend.
"""

import codecs
import json
import re
from collections.abc import Callable, Iterable
from typing import Any

from pipelines.errors import ConfigurationError, Fields, RunError, TransientError
from pipelines.rows.json_values import Repeated, TooDeepError, has_half_a_pair, parse, parse_leniently
from pipelines.sources.http.error_words import is_harmless
from pipelines.wording import quoted

Remark = Callable[[str], None]
"""Takes one sentence that people must know of the rows."""

_CHARSET = re.compile(r"charset\s*=\s*[\"']?([\w.:+-]+)", re.IGNORECASE)
_PASSING = re.compile(
    r"maintenance|unavailable|temporar|try again|overload|time-?out|timed out|gateway|offline|be back|out of memory"
    r"|memory size|fatal error|internal (server )?error|too many|rate limit|quota|exception|service is down",
    re.IGNORECASE,
)
_LOGIN = re.compile(r"type=[\"']?password|log ?in\b|sign ?in\b|samlrequest", re.IGNORECASE)
_STRING_END = re.compile(r"\A[\s]*[{\[]")


def value_of(content: bytes, content_type: str, where: str, fields: Fields, remark: Remark) -> Any:
    """The JSON value of an answer's body. `where` is its address without the query.

    Raises:
        RunError: when there is none.
    """
    if not content.strip(b" \t\r\n\0"):
        raise TransientError(f"The answer of {where} is empty: the server broke off, or is being started.")
    twice: dict[str, None] = {}
    try:
        value = _parsed(content, _charset(content_type), where, fields, remark, repeated=twice.setdefault)
    except TooDeepError:
        raise ConfigurationError(
            f"The answer of {where} has values within values, more than 250 deep, which can't be written again: leave "
            f"them out by {fields.request}."
        ) from None
    if twice:
        remark(f"An object in the answer of {where} gives {_shown(twice)} several values: {LAST_LANDS}")
    return value


LAST_LANDS = "only the last one landed. Have the source give each name once."
"""What becomes of the values that one object gives under one name."""


def _shown(names: Iterable[str]) -> str:
    """Names of members in a sentence, without those that may be names of people."""
    return next((quoted([name]) for name in names if is_harmless(name)), "one name")


def _parsed(
    content: bytes, charset: str | None, where: str, fields: Fields, remark: Remark, *, repeated: Repeated
) -> Any:
    if charset is None:
        try:
            return parse(content, repeated)
        except TooDeepError:
            raise
        except ValueError:
            pass
    text = _text(content, charset, where, remark)
    try:
        value = parse_leniently(text, repeated)
    except TooDeepError:
        raise
    except ValueError:
        value = _without_commas(text, where, fields, remark, repeated)
    if has_half_a_pair(text):
        remark(
            f"The answer of {where} has characters of which only half is there, as where a text was cut: each landed "
            "as the character U+FFFD. Have the server cut texts between characters."
        )
    return value


def _without_commas(text: str, where: str, fields: Fields, remark: Remark, repeated: Repeated) -> Any:
    """The value of a text that has commas behind last values, and is JSON otherwise: no value is lost without them."""
    bare = _COMMA.sub(lambda found: found[1] or found[0], text) if _is_closed(text) else ""
    try:
        value = parse_leniently(bare, repeated)
    except ValueError:
        raise no_json(text, where, fields) from None
    remark(
        f"The answer of {where} has commas behind the last value of a list or an object, which is no JSON: it was read "
        "without them. Have the server send JSON."
    )
    return value


_COMMA = re.compile(r'"(?:[^"\\]|\\.)*"|,(\s*[\]}])', re.DOTALL)
"""A text, or a comma before a closing bracket."""


def _is_closed(text: str) -> bool:
    """Whether a text ends as it begins: then it was not cut off."""
    stripped = text.strip()
    return stripped[:1] + stripped[-1:] in {"{}", "[]"}


def complaint(content: bytes, content_type: str) -> str:
    """The text in which an answer with the status of an error says what is wrong. It may quote anything."""
    try:
        body = value_of(content, content_type, "", _NO_FIELDS, lambda _: None)
    except RunError:
        text = content[:4000].decode(errors="replace")
        return "" if text.lstrip().startswith("<") else text
    return complaint_in(body)


def complaint_in(body: Any) -> str:
    """The same of a JSON value: FHIR's issues, or what stands under the usual names."""
    if isinstance(body, str):
        return body
    if isinstance(body, list):
        return ". ".join(filter(None, map(complaint_in, body[:3])))
    if not isinstance(body, dict):
        return ""
    said = [str(body[name]) for name in ("code", "diagnostics") if isinstance(body.get(name), str)]
    said += [complaint_in(body[name]) for name in _COMPLAINTS if body.get(name)]
    return ". ".join(filter(None, said))


_COMPLAINTS = (
    *("error", "errors", "issue", "details", "text", "message", "error_message", "errorMessage", "error_description"),
    *("detail", "description", "title", "reason", "fault", "faultstring", "msg", "status_message", "info"),
    *("errmsg", "errorMsg", "messages", "resultMsg", "resultMessage", "returnMsg", "statusMessage", "Information"),
)
"""The names under which servers say what is wrong."""

_NO_FIELDS = Fields("", "", "", "")


def no_json(text: str, where: str, fields: Fields) -> RunError:
    """What it means that an answer with status 200 is no JSON. Nothing of it is quoted."""
    start = text.lstrip()[:1]
    if start == "<":
        return _page(text, where, fields)
    if start in {"{", "["}:
        if _is_lines(text):
            return ConfigurationError(
                f"The answer of {where} is a list of JSON lines, which this kind can't read: ask for one JSON "
                f"document, or read it as a file. Check {fields.request}."
            )
        if (at := _broken_within(text)) is None:
            return TransientError(
                f"The answer of {where} is broken JSON: it was cut off, or the server failed meanwhile."
            )
        return ConfigurationError(
            f"The answer of {where} is no JSON, and was not cut off: at character {at} it is written otherwise. "
            f"Have the server send JSON, or check {fields.request}."
        )
    if _PASSING.search(text[:2000]):
        return TransientError(f"The answer of {where} is no JSON but a message that the server can't answer now.")
    return ConfigurationError(f"The answer of {where} is no JSON: check {fields.place}.")


def _page(text: str, where: str, fields: Fields) -> RunError:
    beginning = text[:20_000]
    if re.match(
        r"\s*<\?xml|\s*<(?!!|html|head|body|br|div|p>|b>|pre|script|h\d)[\w:]+[^>]*xmlns", beginning, re.IGNORECASE
    ):
        return ConfigurationError(
            f"The answer of {where} is XML and no JSON: set the header Accept to application/json, or check "
            f"{fields.place}."
        )
    if _LOGIN.search(beginning) and not re.search("maintenance|memory", beginning, re.IGNORECASE):
        return ConfigurationError(
            f"The answer of {where} is no JSON but a page on which people log in: check {fields.login}, and "
            f"{fields.place}."
        )
    if re.search("memory size|out of memory", beginning, re.IGNORECASE):
        return TransientError(
            f"The server of {where} ran out of memory and sent a page instead of JSON. If it does so again, ask "
            f"for less "
            f"at once by {fields.request}, or have its administrator give it more."
        )
    if _PASSING.search(beginning):
        return TransientError(
            f"The answer of {where} is no JSON but a page that says that the server is being maintained or failed."
        )
    return ConfigurationError(f"The answer of {where} is no JSON but a web page: check {fields.place}.")


def _broken_within(text: str) -> int | None:
    """Where a text that is whole, and in which no server says that it failed, is no JSON. None: nobody knows."""
    try:
        json.JSONDecoder(strict=False).decode(text)
    except json.JSONDecodeError as error:
        end = len(text.rstrip()) - 1
        near = text[max(0, error.pos - 1000) : error.pos + 2000]
        if _is_closed(text) and error.pos < end and not ("<" in near and _PASSING.search(near)):
            return error.pos + 1
    except RecursionError:
        pass
    return None


def _is_lines(text: str) -> bool:
    """Whether it is one JSON value after the other."""
    try:
        _, end = json.JSONDecoder(strict=False).raw_decode(text.lstrip())
    except (ValueError, RecursionError):
        return False
    return bool(_STRING_END.match(text.lstrip()[end:]))


def _charset(content_type: str) -> str | None:
    """Python's name of the charset that a header declares. None for UTF-8 and for what nobody knows."""
    declared = _CHARSET.search(content_type)
    try:
        name = codecs.lookup(declared[1]).name if declared else "utf-8"
    except LookupError:
        return None
    return None if name in {"utf-8", "ascii"} else name


def _text(content: bytes, charset: str | None, where: str, remark: Remark) -> str:
    """The characters of a body: by its byte order mark, by what its header says, else UTF-8, as JSON is."""
    found = json.detect_encoding(content)
    if found == "utf-8" and charset is not None:
        return _declared(content, charset, where, remark)
    try:
        return content.decode(found)
    except UnicodeDecodeError:
        pass
    remark(
        f"The answer of {where} has bytes that are no {found.upper()}: each landed as the character U+FFFD. "
        "Have the server send UTF-8, or say its charset in Content-Type."
    )
    return content.decode(found, "replace")


def _declared(content: bytes, name: str, where: str, remark: Remark) -> str:
    text = content.decode(name, "replace")
    if not content.isascii():
        try:
            content.decode()
        except UnicodeDecodeError:
            if "\ufffd" in text:
                remark(f"The answer of {where} has bytes that are no {name}, its charset: each landed as U+FFFD.")
        else:
            remark(
                f"The answer of {where} says that it is {name}, and was read so; it would be UTF-8 as well. "
                "Look at letters with accents, and have the server say what it sends."
            )
    return text
