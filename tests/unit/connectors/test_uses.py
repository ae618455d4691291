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


def test_the_key_of_a_tunnel_goes_to_the_ssh_server_and_the_database_is_named_by_its_secret() -> None:
    ssh = {"host": "bastion.example.org", "user": "u", "private_key": {"secret": "key"}}
    source = {"type": "sql_database", "credentials": {"secret": "emr"}, "ssh": ssh}
    assert [(use.reference, use.host) for use in uses_of(source, None)] == [
        ("emr", None),
        ("key", "bastion.example.org"),
    ]
    destination = {"type": "postgres", "credentials": {"secret": "dw"}, "ssh": ssh}
    assert [(use.reference, use.host, use.pointer) for use in uses_of(None, destination)] == [
        ("dw", None, "/destination/credentials"),
        ("key", "bastion.example.org", "/destination/ssh/private_key"),
    ]
