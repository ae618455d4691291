"""Secrets of one run: the only place that turns a reference into its value, and the layer that keeps values inside.

References are resolved when the run needs them, from Prefect's blocks or the worker's environment. Every value that was
resolved is remembered together with the shapes in which it may turn up (quoted, as JSON, the password of an address),
and `Secrets.guard` removes all of them from whatever the process logs while the run lasts, and with them the words of
libraries, which may quote rows. Errors pass `redact` too.
"""

import contextlib
import json
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar

from connectors.connector import InvalidConnectorError
from connectors.credentials import CredentialKind, CredentialRules, Use, refuse_uses
from connectors.sources.secret_references import BlockRef, Credential, EnvRef, SecretRef, TextOrCredential, looks_secret
from pipelines.access.redaction import SHORTEST
from pipelines.access.redaction import shapes as forms
from pipelines.error_causes.stacks import stack_of
from pipelines.errors import ConfigurationError, TransientError

HIDDEN = "***"
OURS = {"prefect", "connectors", "deployments", "flows", "local", "pipelines"}
"""Loggers whose lines are read as they are: ours and Prefect's. Those of libraries may quote rows."""

UNREAD = "what this library says may quote rows and is not shown"


class Secrets:
    """The values that one run resolved. Its repr and its pickle show none of them."""

    def __init__(self) -> None:
        self._rules = CredentialRules()
        self._shapes: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def __repr__(self) -> str:
        return f"Secrets({len(self._shapes)} hidden)"

    def __reduce__(self) -> str | tuple[Any, ...]:
        return (Secrets, ())

    def permit(self, rules: CredentialRules, uses: Iterable[Use]) -> None:
        """From now on only what these rules allow is resolved; all that a connector uses is judged at once.

        Raises:
            ConfigurationError: it names what it may not, or would send it elsewhere. Nothing was resolved.
        """
        self._rules = rules
        try:
            refuse_uses(uses, rules)
        except InvalidConnectorError as error:
            raise ConfigurationError(str(error)) from None

    def hold_to(self, reference: Credential, host: str | None) -> None:
        """Return when what was resolved may be sent to this host, which the secret itself has named.

        Raises:
            ConfigurationError: otherwise; the host is not named, for it is a part of the secret.
        """
        if (sentence := self._rules.may_go_to(*_key(reference), host)) is not None:
            raise ConfigurationError(sentence)

    def resolve(self, reference: Credential) -> Any:
        """The value behind a reference: text, or what a block holds as JSON.

        Raises:
            ConfigurationError: when there is no such block or variable, or the connector may not name it.
            TransientError: when Prefect can't be asked now.
        """
        kind, name = _key(reference)
        if (sentence := self._rules.why_not(Use(kind, name, "", None))) is not None:
            raise ConfigurationError(sentence.replace("{field}", "The connector"))
        match reference:
            case SecretRef(secret=name):
                value = _block("secret", name).get("value")
            case BlockRef(block=slug):
                value = _block(*slug.split("/", 1))
            case EnvRef(env=name):
                value = os.environ.get(name)
                if value is None:
                    raise ConfigurationError(f"The worker has no variable {name}: set it there, or refer to a block.")
        value = value.strip() if isinstance(value, str) else value
        if value in (None, "", {}):
            raise ConfigurationError(f"{_named(reference)} is empty: give it a value.")
        self.hide(value)
        return value

    def text(self, reference: Credential) -> str:
        """`resolve`, where only a text will do: a token, a password.

        Raises:
            ConfigurationError: also when the reference holds something else.
        """
        value = self.resolve(reference)
        if isinstance(value, Mapping) and isinstance(value.get("value"), str):
            value = value["value"]
        if not isinstance(value, str):
            raise ConfigurationError(f"{_named(reference)} must hold a text: use a Secret block.")
        if value in _of_the_platform():
            raise ConfigurationError(f"{_named(reference)} holds what is the platform's own: no connector may send it.")
        return value

    def plain_or_text(self, value: TextOrCredential) -> str:
        """A text as it is, or the text behind a reference."""
        return value if isinstance(value, str) else self.text(value)

    def hide(self, value: Any) -> None:
        """Remember a value, so that `redact` removes it and the shapes that drivers make of it."""
        shapes = {shape for text in _texts(value) for shape in forms(text)}
        self._shapes |= {shape for shape in shapes if len(shape) >= SHORTEST}
        if self._shapes:
            # Longest first: a password that begins with another one must go as a whole.
            longest = sorted(self._shapes, key=len, reverse=True)
            self._pattern = re.compile("|".join(re.escape(shape) for shape in longest))

    def redact(self, text: str) -> str:
        """`text` without any of the secrets."""
        return self._pattern.sub(HIDDEN, text) if self._pattern else text

    @contextlib.contextmanager
    def guard(self) -> Iterator[None]:
        """Redact everything that this process logs until the end of the block.

        Of exceptions only the stack is logged, and of libraries' lines only where they come from: both may quote rows.
        """
        if logging.getLogRecordFactory() is not _make_redacted:
            _Guarded.make = logging.getLogRecordFactory()
            logging.setLogRecordFactory(_make_redacted)
        # Warnings of libraries are lines of theirs: Python would print what they quote.
        logging.captureWarnings(True)
        # A handler that can't write (a full disk, a closed pipe) would print the exception under way, with its secrets.
        logging.raiseExceptions = False
        _Guarded.secrets.append(self)
        try:
            yield
        finally:
            _Guarded.secrets.remove(self)


class _Guarded:
    """The runs of this process that are going on: several when they run in threads."""

    secrets: ClassVar[list[Secrets]] = []
    make: ClassVar[Callable[..., logging.LogRecord]] = logging.LogRecord


def _make_redacted(*args: Any, **kwargs: Any) -> logging.LogRecord:
    # It stays installed after the last run: taking it away could take away what another library put around it.
    record = _Guarded.make(*args, **kwargs)
    if not _Guarded.secrets:
        return record
    trusted = record.name.partition(".")[0] in OURS
    message = _message(record) if trusted else f"(line {record.lineno} of {record.module}; {UNREAD})"
    if record.exc_info and record.exc_info[1] is not None:
        message = f"{message}\n{stack_of(record.exc_info[1])}"
    for secrets in tuple(_Guarded.secrets):
        message = secrets.redact(message)
    record.msg, record.args, record.exc_info, record.exc_text = message, (), None, None
    return record


def _message(record: logging.LogRecord) -> str:
    """What a record says; where a library's call is wrong, its parts: the caller gets no error for a log line."""
    try:
        return record.getMessage()
    except Exception:  # whatever a library's objects raise
        return " ".join(map(_shown, (record.msg, record.args)))


def _shown(value: object) -> str:
    try:
        return str(value)
    except Exception:  # as above
        return f"<{type(value).__name__}>"


def _of_the_platform() -> set[str]:
    """What this worker's environment holds that no source may be sent, whatever block it was copied to."""
    tokens = os.environ.get("CAI_API_TOKEN", "").split(",")
    own = (os.environ.get("CAI_DATABASE_URL", ""), os.environ.get("CAI_SECRET_MASK_KEY", ""))
    return {each.strip() for each in (*tokens, *own)} - {""}


def _key(reference: Credential) -> tuple[CredentialKind, str]:
    match reference:
        case SecretRef(secret=name):
            return CredentialKind.SECRET, name
        case BlockRef(block=name):
            return CredentialKind.BLOCK, name
        case EnvRef(env=name):
            return CredentialKind.ENV, name


def _named(reference: Credential) -> str:
    match reference:
        case SecretRef(secret=name):
            return f"The Secret block '{name}'"
        case BlockRef(block=slug):
            return f"The block '{slug}'"
        case EnvRef(env=name):
            return f"The worker's variable {name}"


def _block(kind: str, name: str) -> dict[str, Any]:
    """The data of a block document, secrets included. Reads the document itself: no block class has to be installed."""
    from prefect.client.orchestration import get_client  # noqa: PLC0415  # not needed when all references are env
    from prefect.exceptions import ObjectNotFound  # noqa: PLC0415

    try:
        with get_client(sync_client=True) as client:
            document = client.read_block_document_by_name(name, kind, include_secrets=True)
    except ObjectNotFound:
        raise ConfigurationError(
            f"Prefect has no block '{kind}/{name}': create it under Blocks in the Prefect UI, or correct the reference."
        ) from None
    except Exception as error:  # whatever httpx or the server made of it, Prefect did not answer
        logging.getLogger("prefect.pipelines").warning("Asking for a block failed: %s.", type(error).__name__)
        raise TransientError(
            f"Prefect could not be asked for the block '{kind}/{name}': check that its server runs and that "
            "PREFECT_API_URL and PREFECT_API_AUTH_STRING are right on this worker."
        ) from None
    return dict(document.data)


def _texts(value: Any) -> Iterator[str]:
    """Every text in a resolved value that may be secret: all of a text, and of JSON what isn't plainly public."""
    if isinstance(value, str):
        yield value
        with contextlib.suppress(ValueError):
            parsed = json.loads(value)
            if isinstance(parsed, dict):
                yield from _texts(parsed)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            if isinstance(item, Mapping | list):
                yield from _texts(item)
            elif isinstance(item, str) and (
                looks_secret(str(key)) or key == "value" or "://" in item or "private" in str(key)
            ):
                yield item
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
