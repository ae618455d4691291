"""Capabilities of a FHIR server, asked of it: `connectors.sources.fhir_offers` says what they mean."""

import functools
from collections.abc import Callable

from connectors.sources.fhir_offers import Capability, is_statement, read
from pipelines.errors import ConfigurationError
from pipelines.sources.http.client import Client

Offered = Callable[[], Capability]
"""What a server can; asked of it when somebody wants to know, and once. Raises as `capability_of` does."""


def asked_once(client: Client) -> Offered:
    """What a server can, for one run: its statement may have megabytes."""
    return functools.cache(lambda: capability_of(client))


def capability_of(client: Client) -> Capability:
    """Ask a server what it can.

    Raises:
        RunError: it does not answer, or is no FHIR server.
    """
    said = client.answer(client.request("metadata")).json()
    if not is_statement(said):
        raise ConfigurationError(
            "source.base_url answers no CapabilityStatement at /metadata: check that it is the base address of a FHIR "
            "server, such as https://fhir.example.org/r4."
        )
    return read(said)
