"""Capabilities of a destination, which are worked out once."""

from dlt.common.normalizers.naming.snake_case import NamingConvention
from dlt.destinations import duckdb
from dlt.destinations.impl.duckdb.configuration import DuckDbCredentials

from pipelines.access.duckdb_connections import KeptConnection
from pipelines.loading.replacing.refresh import RefreshedDuckDb


def test_a_destination_can_what_dlt_says_of_it_each_time() -> None:
    ours = RefreshedDuckDb(credentials="labs.duckdb", recommended_file_size=7)
    ours.pool = KeptConnection(DuckDbCredentials("labs.duckdb"))
    dlts = duckdb(credentials="labs.duckdb", recommended_file_size=7)
    for naming in (None, NamingConvention()):
        first = ours.capabilities(None, naming)
        assert first.recommended_file_size == 7
        assert isinstance(first.supported_merge_strategies, list)
        first.supported_merge_strategies.clear()
        assert dict(ours.capabilities(None, naming)) == dict(dlts.capabilities(None, naming))
