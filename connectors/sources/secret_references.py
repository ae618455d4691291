"""References to secrets, and what must never stand in the table instead of one.

The table is read by many (a back end, an API, a backup), so a connector says *where* a secret is and never what it is.
Every check here refuses without repeating the value: the sentence of a refusal is stored, shown and logged.
This module is pure: resolving a reference is the run's business (`pipelines.access.secrets`).
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import parse_qsl, urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Discriminator, StringConstraints, Tag
from pydantic_core import PydanticCustomError

WAY_OUT = 'create a Secret block in Prefect and refer to it as {"secret": "its-name"}'
"""What to do with a secret, in the words of every refusal of this module."""

_SECRET_NAME = re.compile(
    r"token|secret|passw(or)?d|passphrase|pwd|api[-_ ]?key|access[-_ ]?key|private[-_ ]?key|subscription[-_ ]?key"
    r"|credential|authorization|cookie|session[-_ ]?id|signature|(^|[-_ ])(auth|sig|x[-_ ]?key)($|[-_ ])",
    re.IGNORECASE,
)


def refused(sentence: str, *below: str | int) -> PydanticCustomError:
    """The error to raise from a validator: `sentence` with `{field}` where the field's name goes.

    `below` names a part of the validated value that is meant, when it isn't the whole value.
    """
    return PydanticCustomError("refused", sentence, {"below": below})


class Strict(BaseModel):
    """Base of everything a user writes as JSON: unknown keys are refused, nothing changes after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]


def _block_name(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", value):
        raise refused(
            "{field} must be a Prefect block's name: lowercase letters, digits and dashes, such as 'emr-token'."
        )
    return value


def _block_slug(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*/[a-z0-9]+(-[a-z0-9]+)*", value):
        raise refused("{field} must be a block's type and name, such as 'sqlalchemy-connector/emr'.")
    return value


def _env_name(value: str) -> str:
    if not re.fullmatch(r"CAI_SECRET_[A-Z0-9_]+", value):
        raise refused(
            "{field} must name a variable of the worker that starts with CAI_SECRET_, such as 'CAI_SECRET_EMR'."
        )
    return value


class SecretRef(Strict):
    """The value of a Prefect Secret block."""

    secret: Annotated[Name, AfterValidator(_block_name)]


class BlockRef(Strict):
    """A credentials block of Prefect, as `type/name`."""

    block: Annotated[Name, AfterValidator(_block_slug)]


class EnvRef(Strict):
    """An environment variable of the worker, of those that operations opened to connectors: `CAI_SECRET_*`."""

    env: Annotated[Name, AfterValidator(_env_name)]


def _reference_tag(value: object) -> str | None:
    if isinstance(value, SecretRef | BlockRef | EnvRef):
        return f"<{next(iter(type(value).model_fields))}>"
    if isinstance(value, Mapping):
        return next((f"<{key}>" for key in ("secret", "block", "env") if key in value), None)
    return None


_Secret = Annotated[SecretRef, Tag("<secret>")]
_Block = Annotated[BlockRef, Tag("<block>")]
_Env = Annotated[EnvRef, Tag("<env>")]

Credential = Annotated[
    _Secret | _Block | _Env,
    Discriminator(
        _reference_tag,
        custom_error_type="refused",
        custom_error_message="{field} must be a reference and never the value itself: " + WAY_OUT + ".",
    ),
]
"""A reference to a secret."""


def _text_tag(value: object) -> str | None:
    return "<text>" if isinstance(value, str) else _reference_tag(value)


TextOrCredential = Annotated[
    Annotated[Name, Tag("<text>")] | _Secret | _Block | _Env,
    Discriminator(
        _text_tag,
        custom_error_type="refused",
        custom_error_message='{field} must be text, or a reference such as {"secret": "its-name"}.',
    ),
]
"""A plain text that may also be kept as a secret: a user's name, a header."""


def looks_secret(name: str) -> bool:
    """Whether a header, parameter or key of this name usually holds a secret."""
    return _SECRET_NAME.search(name) is not None


def refuse_plain_secrets(value: Any, *, at: tuple[str | int, ...] = ()) -> None:
    """Refuse texts under names that usually hold a secret, at any depth of a JSON value.

    Raises:
        PydanticCustomError: with the place of the first one.
    """
    if isinstance(value, Mapping):
        for key, item in value.items():
            if isinstance(item, str | int | float) and not isinstance(item, bool) and looks_secret(str(key)):
                raise refused("{field} looks like a secret and must not be plain text: " + WAY_OUT + ".", *at, str(key))
            refuse_plain_secrets(item, at=(*at, str(key)))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            refuse_plain_secrets(item, at=(*at, index))


def refuse_secret_in_url(url: str) -> str:
    """`url` itself, when neither its user part nor its query nor its fragment holds a secret.

    Raises:
        PydanticCustomError: otherwise.
    """
    try:
        parts = urlsplit(url)
        user, password, _ = parts.username, parts.password, parts.port
    except ValueError:
        raise refused("{field} is not a valid address: check its brackets and its port.") from None
    # A user alone is a token as often as not (https://ghp_...@host); of an sftp address it is only a name.
    if password is not None or (user and parts.scheme in {"http", "https"}):
        raise refused("{field} must not hold a user or password: take it out of the address, " + WAY_OUT + ".")
    for query in (parts.query, parts.fragment):
        for key, _ in parse_qsl(query, keep_blank_values=True, separator="&"):
            if looks_secret(key):
                raise refused(
                    "{field} must not hold a secret in its query: take it out of the address, " + WAY_OUT + "."
                )
    return url


def _http_url(value: str) -> str:
    refuse_secret_in_url(value)
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname or re.search(r"\s", value):
        raise refused(
            "{field} must be an address that starts with http:// or https://, such as 'https://emr.example.org/api'."
        )
    return value


def _stripped(value: object) -> object:
    return value.strip() if isinstance(value, str) else value


HttpUrl = Annotated[
    str, BeforeValidator(_stripped), StringConstraints(min_length=1, max_length=2000), AfterValidator(_http_url)
]
"""An http(s) address without a secret in it. Plain http and private hosts are fine: clinics have them."""

PlainUrl = Annotated[
    str,
    BeforeValidator(_stripped),
    StringConstraints(min_length=1, max_length=2000),
    AfterValidator(refuse_secret_in_url),
]
"""A path or an address of any scheme without a secret in it."""


FIRST_USE = "first_use"
"""Accept the key that a server presents first, and no other later."""


def _host_key(value: str) -> str:
    if value != FIRST_USE and not re.fullmatch(r"SHA256:[A-Za-z0-9+/]{43}", value):
        raise refused(
            "{field} must be a fingerprint as ssh-keygen -l writes it, such as "
            "'SHA256:' and 43 letters and digits, or 'first_use'."
        )
    return value


HostKeyText = Annotated[Name, AfterValidator(_host_key)]
"""The fingerprint of an SSH server's key, or `first_use`: by it a secret goes to no other server."""


def reference_from_text(text: str) -> dict[str, str]:
    """A reference as a person writes it: a variable of the worker, a block as type/name, or else a Secret block."""
    text = text.strip()
    if text.startswith("CAI_SECRET_"):
        return {"env": text}
    return {"block": text} if "/" in text else {"secret": text}


def reference_in_text(reference: object) -> str:
    """The text that `reference_from_text` makes this reference of; empty for anything else."""
    if not isinstance(reference, Mapping):
        return ""
    return next((str(reference[key]) for key in ("secret", "block", "env") if reference.get(key)), "")
