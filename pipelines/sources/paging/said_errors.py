"""Errors that an answer with a good status says that it is, by the names that servers have for them. Pure.

A name for errors that holds one is an error whatever came with it. Where no row came, all that an answer says of itself
counts: signs, codes and words, also within the objects around the rows. Words that say neither that it went wrong nor
that there is nothing are a doubt.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.sources.paging.statements import SAID_OF_NOTHING, names_in, plain, truth, whole

_ERRORS = (
    *("error", "errors", "err", "fault", "exception", "errormessage", "errormessages", "errormsg", "errmsg"),
    *("errordescription", "errordetail", "errordetails", "errorcode", "errcode"),
)
_WORDS = names_in(
    "message messages msg detail statusmessage statustext statusdescription resultmessage resultmsg returnmessage "
    "returnmsg retmsg responsemessage responsemsg"
)
"""Names under which servers say in words how it went."""
_STATES = names_in("status result statuscode code resultcode responsecode returncode retcode resultstatus")
"""Names under which they say it by one word or number."""
_GOOD = names_in("success successful succeeded issuccess issuccessful ok isok")
_BAD = names_in("iserror haserror haserrors failed isfailed")
_ABOUT_ERRORS = (
    frozenset(_ERRORS)
    | _WORDS
    | _STATES
    | _GOOD
    | _BAD
    | names_in(
        "description details title type reason errortype timestamp path instance traceid requestid correlationid help "
        "helplink information moreinfo documentationurl data result"
    )
)
_AROUND = names_in(
    "meta metadata response responsedata responseheader responsestatus responsemetadata result results data d head "
    "header body info status state envelope queryresponse searchresponse"
)
"""Objects around the rows in which an answer may say it."""
_DEPTH = 3
_ALONE = ("message", "msg", "detail", "information")
"""Names of words that may be all that an answer without rows has."""
OF_ANSWERS = _ABOUT_ERRORS | SAID_OF_NOTHING
_NO_ERROR = frozenset(
    {"", "0", "none", "no", "false", "ok", "null", "success", "no error", "noerror", "success.", "nil"}
)


@dataclass(frozen=True, slots=True)
class Failure:
    """What an answer says that it failed, and where."""

    at: str
    about: Any
    """The object that says it. It may quote anything."""


def failure_in(
    body: Any, *, has_rows: bool, is_row: bool, asked: Mapping[str, Any] | None = None, by_words: bool = True
) -> Failure | None:
    """What an answer with a good status says that it failed. None when it does not.

    Args:
        body: the answer.
        has_rows: there are some in it: then only a name for errors counts.
        is_row: the body itself would be the row, and a row may have columns of any name: then it is an error only if
            it holds nothing else.
        asked: the request's parameters, which an answer may repeat.
        by_words: its words count too.
    """
    if isinstance(body, list) and len(body) == 1 and isinstance(body[0], dict) and set(body[0]) & set(_ERRORS):
        body, has_rows, is_row = body[0], False, True
    if not isinstance(body, dict) or (is_row and not _is_about_errors(body)):
        return None
    if named := _named_error(body):
        return Failure(named, body)
    if has_rows:
        return None
    for path, around in [("", body)] if is_row else _around(body):
        counting = by_words and not _is_record(around)
        for key, value in around.items():
            name = plain(key)
            if _is_asked(str(key), value, asked):
                continue
            if (path and name in _ERRORS and _is_error(value)) or _is_sign(name, value):
                return Failure(f"{path}{key}", around)
            if counting and name in _WORDS and _says_failed(value):
                return Failure(f"{path}{key}", around)
    alone = is_row and not any(plain(key) in {"data", "result"} for key in body)
    words = next((str(key) for key in body if plain(key) in _ALONE), "")
    return Failure(words, body) if words and alone and not says_nothing(body) else None


def doubt_in(body: Any, asked: Mapping[str, Any] | None = None) -> str:
    """Where an answer without rows says something in words, or by a code, that nobody knows to be good."""
    doubt = ""
    for path, around in _around(body) if isinstance(body, dict) else ():
        if not all(isinstance(value, list | dict) or plain(key) in OF_ANSWERS for key, value in around.items()):
            continue  # a record, whose columns may say anything
        for key, value in around.items():
            if _is_asked(str(key), value, asked) or not isinstance(value, str | int) or isinstance(value, bool):
                continue
            name, code = plain(key), whole(value)
            if name in _WORDS and str(value).strip():
                if _IS_WELL.search(str(value)) or _NONE.search(str(value)):
                    return ""
                doubt = doubt or f"{path}{key}"
            elif name in _STATES and name.endswith("code") and code is not None and not _is_good(code):
                doubt = doubt or f"{path}{key}"
    return doubt


def says_nothing(body: Mapping[str, Any]) -> bool:
    """Whether an answer that has no place for rows says no more than that there are none."""
    if not _is_about_errors(body):
        return False
    values = {plain(key): value for key, value in body.items()}
    if any(name in values and values[name] in (None, {}, "") for name in ("data", "result")):
        return True
    return any(isinstance(values.get(name), str) and _NOTHING.search(values[name]) for name in _ALONE)


def _is_about_errors(body: Mapping[str, Any]) -> bool:
    return all(plain(key) in _ABOUT_ERRORS for key in body)


def _is_record(around: Mapping[str, Any]) -> bool:
    """Whether an object around the rows is a record that has them, and no envelope: its texts may say anything."""
    return any(plain(key) in {"id", "uuid", "identifier", "key", "name"} for key in around)


def _around(body: Mapping[str, Any], path: str = "", depth: int = 0) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """An answer, and the objects around its rows."""
    yield path, body
    for key, value in body.items():
        if isinstance(value, dict) and depth < _DEPTH and plain(key) in _AROUND:
            yield from _around(value, f"{path}{key}.", depth + 1)


def _is_asked(key: str, value: Any, asked: Mapping[str, Any] | None) -> bool:
    """Whether an answer only repeats what it was asked, as in ?status=failed."""
    return asked is not None and key in asked and str(asked[key]) == str(value)


def _named_error(body: Mapping[str, Any]) -> str:
    by_name = {plain(key): (str(key), value) for key, value in body.items()}
    return next((by_name[name][0] for name in _ERRORS if name in by_name and _is_error(by_name[name][1])), "")


_FIRST_ERROR, _LAST_ERROR = 400, 599


def _is_sign(name: str, value: Any) -> bool:
    """Whether a value under a name says by itself that it went wrong."""
    if name in _GOOD:
        return truth(value) is False or value in (0, "0", "no", "n")
    if name in _BAD:
        return truth(value) is True
    if name not in _STATES or isinstance(value, bool):
        return False
    number = value if isinstance(value, int | float) else whole(value)
    if number is not None:
        return number < 0 or _FIRST_ERROR <= number <= _LAST_ERROR
    return isinstance(value, str) and bool(_FAILED_STATE.search(_spaced(value)))


def _says_failed(message: Any) -> bool:
    """Whether one of an answer's messages, or any, says that it went wrong: by its kind where it has one."""
    if isinstance(message, list):
        return any(map(_says_failed, message))
    if isinstance(message, str):
        return bool(_FAILED.search(_NONE.sub(" ", _spaced(message))))
    if not isinstance(message, dict):
        return False
    by_name = {plain(key): value for key, value in message.items()}
    kinds = [str(by_name[name]) for name in ("type", "level", "severity", "kind") if name in by_name]
    if kinds:
        return any(_FAILED_STATE.search(_spaced(kind)) for kind in kinds)
    return any(_says_failed(by_name.get(name)) for name in ("message", "text", "msg"))


def _spaced(text: str) -> str:
    """REQUEST_DENIED and requestDenied as words."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|[_\-]+", " ", text.replace("\u2019", "'"))


_FAILED_STATE = re.compile(
    r"^(?:error|fail|failed|failure|unavailable|fatal|critical|exception|denied|unauthori[sz]ed|forbidden|timeout)$"
    r"|\b(?:unknown|internal|server|system|query|search|request) (?:error|failed|failure|denied|timeout)$"
    r"|\b(?:invalid|bad) request$|\bover (?:\w+ )?limit$|\b(?:access|permission) denied$",
    re.IGNORECASE,
)
"""States of an answer that failed. A record may be expired, rejected or missing, so those are none."""
_NONE = re.compile(
    r"\b(?:no|not any|zero|0|without|any)(?: \w+){0,2} (?:errors?|fail\w*|exceptions?|faults?|problems?)\b"
    r"|\bno ?data ?error\b"
    r"|\b(?:can ?not|can't|could not|couldn't|unable to|failed to) (?:be )?(?:find|found|locate\w*)\b"
    r"|\b(?:errors?|failed|failures)\s*[:=]\s*(?:0|none|no)\b",
    re.IGNORECASE,
)
"""Words that say that nothing is wrong, or that nothing was found."""
_FAILED = re.compile(
    r"\bfail\w*|\berrors?\b|\bexceptions?\b|\bfatal\b|\bdenied\b|\bforbidden\b|\brefused\b|\brejected\b|\baborted\b"
    r"|\bunauthori[sz]ed\b|\bunauthenticated\b|\bnot (?:been )?(?:authori[sz]ed|authenticated|allowed|permitted|valid"
    r"|logged in|supported|registered|available|accepted|enabled|entitled)\b|\binvalid\b|\bincorrect\b|\bexpired\b"
    r"|\bbad request\b|\bmalformed\b|\bunavailable\b|\bmaintenance\b|\boverload\w*|\btime(?:d)? ?-?out\b|\btoo many\b"
    r"|\bthrottl\w+|\brate limit\w*|\b(?:limit|quota)\b.{0,30}\b(?:exceed\w*|reached|hit|spent)"
    r"|\bexceed\w*|\bover (?:\w+ )?(?:limit|quota)\b|\bunable to\b|\bcan ?not\b|\bcan't\b|\bcould ?n'?o?t\b"
    r"|\bno (?:access|permission|rights?|privileges?)\b|\bmissing\b|\brequired\b|\bmust be\b|\bsuspended\b"
    r"|\bdisabled\b|\bnot (?:be )?complete\w*|\bincomplete\b|\bblocked\b|\btry again\b|\bwent wrong\b|\bunexpected\b"
    r"|\bcrash\w*|\bout of memory\b|\bdeadlock\b"
    r"|\bfehler\w*|\bfehlgeschlagen\b|\berreur\w*|\béchec\b|\béchoué\w*|\berror\w*|\berrore\b|\bfallit\w+|\bfalló\b"
    r"|\bfalha\w*|\berro\b|\bfout\b|\bmislukt\b|ошибк|失败|失敗|错误|錯誤|エラー|오류|실패",
    re.IGNORECASE,
)
_NOTHING = re.compile(
    r"\b(?:no|0|zero) (?:\w+ ){0,3}(?:data|records?|results?|rows?|entr(?:y|ies)|items?|matche?s?|content|objects?|"
    r"documents?|changes|updates|found|available)\b|\bnothing (?:\w+ )?(?:found|new|to|matche[sd])\b|\bnot found\b",
    re.IGNORECASE,
)
"""Words that say that there is nothing."""
_IS_WELL = re.compile(
    r"\b(?:ok|okay|success\w*|succeed\w*|done|complete\w*|finished|fine|good|processed|executed|retrieved|fetched"
    r"|returned|listed|loaded|received|found|no|none|nothing|zero|0|empty|end|last|past|beyond|all|up to date"
    r"|unchanged|not modified|welcome|deprecat\w+|cop(?:y|ie)right|cached|erfolgreich|keine?|leer|succès|aucune?|vide"
    r"|éxito|sin|ningún|ninguna|vacío|sucesso|nenhuma?|geen|ок|успе\w+|нет)\b|成功|没有|沒有|无|暂无|なし|없",
    re.IGNORECASE,
)
"""Words of an answer that went well, has nothing, or comes past the end."""


def _is_good(code: int) -> bool:
    """Whether a code is one of those that servers have for an answer that went well."""
    return code in {0, 1, 100, 1000, 2000, 10_000, 20_000, 100_000, 200_000} or 200 <= code <= 299


def is_passing_error(text: str) -> bool:
    """Whether what a server says about an error means that it may pass."""
    return bool(_PASSING_ERROR.search(text))


_PASSING_ERROR = re.compile(
    r"quota|rate.?limit|too many|throttl|timed? ?out|timeout|temporar|unavailable|maintenance|overload|try again|lock"
    r"|internal (server )?error|busy|out of memory|backend error|transient",
    re.IGNORECASE,
)


def _is_error(value: Any) -> bool:
    """Whether what stands under a name for errors is one: many servers write it always, and say there that all is
    well."""
    if isinstance(value, str):
        return value.strip().lower() not in _NO_ERROR
    if isinstance(value, list):
        return any(map(_is_error, value))
    if not isinstance(value, dict):
        return bool(value)
    code = value.get("code", value.get("status"))
    words = str(value.get("message", value.get("text", "-"))).strip().lower()
    if code in (0, "0", 200, "200") or (code is None and words in {"", "ok", "success", "no error", "none"}):
        return False
    return any(value.values())


def is_a_word(at: str) -> bool:
    """Whether a failure stands among words, which may mean something else."""
    return plain(at.rpartition(".")[2]) in _WORDS
