"""Errors that are known by their names: the installed libraries still have them."""

import importlib

import pytest

RECOGNISED = {
    "dlt.common.exceptions": "MissingDependencyException TransientException",
    "dlt.common.schema.exceptions": "DataValidationError",
    "dlt.common.configuration.exceptions": "ConfigurationException InvalidNativeValue",
    "dlt.common.configuration.specs.exceptions": "InvalidConnectionString",
    "dlt.destinations.exceptions": "DestinationConnectionError",
    "dlt.extract.incremental.exceptions": "IncrementalCursorInvalidCoercion IncrementalCursorPathMissing "
    "IncrementalCursorPathHasValueNone",
    "botocore.exceptions": "ClientError EndpointConnectionError HTTPClientError",
    "azure.core.exceptions": "AzureError",
    "gcsfs.retry": "HttpError",
    "google.auth.exceptions": "RefreshError",
    "paramiko.ssh_exception": "AuthenticationException NoValidConnectionsError SSHException",
}
"""Errors that are known by their names alone, so that no run imports what it does not need."""


@pytest.mark.parametrize(("module", "names"), RECOGNISED.items())
def test_an_error_that_is_known_by_its_name_still_has_it(module: str, names: str) -> None:
    assert [name for name in names.split() if not hasattr(importlib.import_module(module), name)] == []
