"""The schema of a load, kept in memory while it is at work.

dlt reads its schema from disk, parses, verifies and hashes it at each look, in case that another process has changed
it; it looks several times for each table. With hundreds of tables in a connector that is more work than the load
itself. The directory of a try belongs to one run alone, so what was read or written last is what there is.
"""

from dlt import Pipeline, Schema
from dlt.common.storages import LiveSchemaStorage


class KeptSchemas(LiveSchemaStorage):
    """dlt's store of schemas, for a directory that nobody else writes."""

    def __getitem__(self, name: str) -> Schema:
        """The schema as it was read or written last."""
        return self.live_schemas[name] if name in self.live_schemas else super().__getitem__(name)


def keep_schemas(pipeline: Pipeline) -> None:
    """Have a pipeline, whose state is restored, read each of its schemas once."""
    kept = KeptSchemas(pipeline._schema_storage_config)
    kept.live_schemas.update(pipeline._schema_storage.live_schemas)
    pipeline._schema_storage = kept
