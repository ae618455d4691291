"""Uses of credentials: the hosts that a connector's JSON would send each to."""

from connectors.credentials import uses_of

SOURCE = {
    "type": "fhir",
    "base_url": "https://fhir.example.org/r4",
    "auth": {"type": "bearer", "token": {"secret": "emr"}},
    "next_hosts": ["files.example.org:8443", "other.example.org"],
}


def test_a_credential_goes_to_each_host_of_the_server() -> None:
    assert [(use.reference, use.host) for use in uses_of(SOURCE, None)] == [
        ("emr", "fhir.example.org"),
        ("emr", "files.example.org"),
        ("emr", "other.example.org"),
    ]
