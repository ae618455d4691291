"""Errors that an answer with a good status says that it is, by the names that servers have for them. Pure."""

import re
from collections.abc import Mapping
from typing import Any

from pipelines.sources.paging.statements import names_in, plain, truth, whole

_ERRORS = (
    *("error", "errors", "fault", "exception", "errormessage", "errormessages", "errormsg", "errordescription"),
    *("errordetail", "errordetails", "errorcode"),
)
_ABOUT_ERRORS = names_in(
    "error errors fault exception message msg code status statuscode statustext success ok detail details "
    "description title reason type errorcode errormessage errordescription errortype timestamp path "
    "instance traceid requestid correlationid help helplink moreinfo documentationurl data result"
)
_NO_ERROR = frozenset(
    {"", "0", "none", "no", "false", "ok", "null", "success", "no error", "noerror", "success.", "nil"}
)


def error_in(body: Any, *, has_rows: bool, is_row: bool) -> str:
    """Where an answer with a good status says that it failed. Empty when it does not.

    `is_row`: the body itself would be the row, and a row may have columns of any name: then it is an error only if it
    holds nothing else.
    """
    if isinstance(body, list) and len(body) == 1 and isinstance(body[0], dict) and set(body[0]) & set(_ERRORS):
        body, has_rows, is_row = body[0], False, True
    if not isinstance(body, dict):
        return ""
    if is_row and not all(plain(key) in _ABOUT_ERRORS for key in body):
        return ""
    by_name = {plain(key): (str(key), value) for key, value in body.items()}
    return _named_error(by_name) or ("" if has_rows else _unsuccessful(by_name, is_row=is_row))


def _named_error(by_name: Mapping[str, tuple[str, Any]]) -> str:
    return next((by_name[name][0] for name in _ERRORS if name in by_name and _is_error(by_name[name][1])), "")


def _unsuccessful(by_name: Mapping[str, tuple[str, Any]], *, is_row: bool) -> str:
    """Where an answer without rows says that it is none."""
    if found := next((key for name, (key, value) in by_name.items() if name in _SIGNS and _is_sign(name, value)), ""):
        return found
    words = next((by_name[name][0] for name in ("message", "msg", "detail") if name in by_name), "")
    if words or not is_row:
        for name in ("status", "statuscode", "code"):
            number = whole(by_name.get(name, ("", None))[1])
            if number is not None and _FIRST_ERROR <= number <= _LAST_ERROR:
                return by_name[name][0]
    return "" if not is_row or by_name.keys() & {"data", "result"} else words


_SIGNS = names_in("success ok status result iserror haserror haserrors")
_FIRST_ERROR, _LAST_ERROR = 400, 599


def _is_sign(name: str, value: Any) -> bool:
    """Whether a value under one of these names says that there is an error."""
    if name in {"success", "ok"}:
        return truth(value) is False
    if name in {"status", "result"}:
        return str(value).lower() in {"error", "fail", "failed", "failure", "unavailable"}
    return truth(value) is True


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
