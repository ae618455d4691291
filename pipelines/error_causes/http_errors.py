"""Errors of connections over HTTP, told in sentences of our own: by the classes and signs that libraries have for them.

This module is pure.
"""

import re
from collections.abc import Callable

from pipelines.error_causes.database_errors import Kind, Told
from pipelines.errors import Side

Recogniser = Callable[[set[str], str, Side], Told | None]
"""Takes the names of an error's classes, and what it says, which is never shown."""

_CERTIFICATES = {
    "has expired": "it has expired",
    "not yet valid": "it is not valid yet",
    "mismatch|doesn't match|not valid for": "it is another host's",
    "self[- ]signed": "it is self-signed, or its authority is",
}
"""Signs of what is wrong with a certificate, and how a sentence says so."""


def told(causes: list[BaseException], side: Side) -> Told | None:
    """What a chain of errors means when it is one of TLS, of an answer that broke off, or of an odd address."""
    return _first((_certificate, _broken_off, _misled), causes, side)


def unreachable(causes: list[BaseException], side: Side) -> Told | None:
    """What a chain of errors means when the host could not be reached, or dropped the connection."""
    return _first((_network,), causes[::-1], side)


def _first(recognisers: tuple[Recogniser, ...], causes: list[BaseException], side: Side) -> Told | None:
    for cause in causes:
        names, text = {kind.__name__ for kind in type(cause).__mro__}, str(cause)
        for recognise in recognisers:
            if (found := recognise(names, text, side)) is not None:
                return found
    return None


def _certificate(names: set[str], text: str, side: Side) -> Told | None:
    """A server that can't prove who it is, or that speaks no TLS at all: no retry mends that."""
    if not names & {"SSLError", "SSLCertVerificationError", "CertificateError"} and "SSLError(" not in text:
        return None
    where = _host_in(text)
    if re.search("WRONG_VERSION_NUMBER|HTTP_REQUEST|record layer failure|UNKNOWN_PROTOCOL", text, re.IGNORECASE):
        return Told(
            Kind.CONFIGURATION,
            f"The {side}{where} speaks no TLS there: check the scheme (https) and the port of its address.",
        )
    if not re.search("CERTIFICATE_VERIFY_FAILED|certificate verify failed|doesn't match|CertificateError", text):
        return None
    why = next((words for sign, words in _CERTIFICATES.items() if re.search(sign, text)), "nobody here vouches for it")
    return Told(
        Kind.CONFIGURATION,
        f"The certificate of the {side}{where} is not accepted: {why}. Have it renewed, or let the worker trust its "
        "authority: REQUESTS_CA_BUNDLE names a file with the certificate of that.",
    )


def _broken_off(names: set[str], text: str, side: Side) -> Told | None:
    """An answer that ended too early, or can't be unpacked."""
    if not names & {"ChunkedEncodingError", "IncompleteRead", "InvalidChunkLength", "ContentDecodingError"}:
        return None
    return Told(Kind.TRANSIENT, f"The {side} broke off in the middle of its answer, or sent it damaged.")


def _misled(names: set[str], text: str, side: Side) -> Told | None:
    """An address that no request can be sent to, or redirects without an end."""
    if "TooManyRedirects" in names:
        return Told(
            Kind.CONFIGURATION,
            f"The {side} redirects each request to another address, without an end: check its address and login.",
        )
    if names & {"InvalidURL", "MissingSchema", "InvalidSchema", "LocationParseError"}:
        return Told(
            Kind.CONFIGURATION, f"The {side}'s address is none that can be asked: check how it is written in {side}."
        )
    return None


def _network(names: set[str], text: str, side: Side) -> Told | None:
    if not names & {"ConnectionError", "Timeout", "TransportError", "ConnectionResetError", "gaierror"}:
        return None
    unknown = re.search("resolve|not known|getaddrinfo", text)
    why = "its name is not known here" if unknown else "it does not answer or dropped the connection"
    return Told(
        Kind.TRANSIENT,
        f"The {side}{_host_in(text)} could not be reached: {why}; check the address and the network.",
    )


def _host_in(text: str) -> str:
    found = re.search(r"host='([^']+)', port=(\d+)", text)
    return f" at {found.group(1)}:{found.group(2)}" if found else ""
