"""Chains of exceptions: what caused what."""

_WRAPPED = ("job_exception", "client_exception", "exception", "inner_exc", "orig", "dbapi_exception")
"""The attributes in which dlt and SQLAlchemy keep the error that theirs is about."""


def chain(error: BaseException) -> list[BaseException]:
    """`error` and everything that caused it, the root cause last."""
    found: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in found:
        found.append(following)
        wrapped = [getattr(following, name, None) for name in _WRAPPED]
        inner = next((item for item in wrapped if isinstance(item, BaseException) and item not in found), None)
        following = inner or following.__cause__ or following.__context__
    return found
