"""Capabilities of a FHIR server, asked of it: `connectors.sources.fhir_offers` says what they mean."""

from connectors.sources.fhir_offers import Capability, is_statement, read
from pipelines.errors import ConfigurationError
from pipelines.sources.http.client import Client


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
