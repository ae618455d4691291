"""Empty replacements: a table keeps its rows when the source that replaces it is empty for once.

`replace` means what the source has now. But a source that has nothing is more often broken than empty: an export that
failed, a login that sees no rows. So after the extract, load files without any row are taken away from tables that have
had rows, and the run says so. A full refresh, or `allow_empty` of the table, empties it.
"""

from collections.abc import Collection
from pathlib import Path

from dlt import Pipeline

from connectors.sources.write_rules import normalised
from pipelines.remarks import Remarks


def hold_empty(pipeline: Pipeline, may_be_empty: Collection[str], remarks: Remarks) -> None:
    """Take what was extracted of empty replacements out of the load. Comes right after the extract.

    If the process dies here, nothing of this load was written, and its directory goes with it.

    Args:
        pipeline: has just extracted.
        may_be_empty: the tables that a source without rows empties.
        remarks: told of each table that keeps its rows.
    """
    schema = pipeline.default_schema
    allowed = {normalised(name) for name in may_be_empty}
    counted: dict[str, int] = {}
    trace = pipeline.last_trace
    for steps in (trace.last_extract_info.metrics if trace and trace.last_extract_info else {}).values():
        for step in steps:
            for name, metrics in step["table_metrics"].items():
                counted[name] = counted.get(name, 0) + metrics.items_count
    had_rows = {table["name"] for table in schema.data_tables(seen_data_only=True)}
    for load_id in pipeline.list_extracted_load_packages():
        for job in pipeline.get_load_package_info(load_id).jobs["new_jobs"]:
            name = job.job_file_info.table_name
            if name in allowed or name not in had_rows or counted.get(name, 0):
                continue
            if schema.get_table(name).get("write_disposition") != "replace":
                continue
            Path(job.file_path).unlink(missing_ok=True)
            remarks.add(
                f"The source had no rows for '{name}', which therefore keeps those of the load before: if it is "
                f"meant to "
                "be empty, run it with full_refresh, or set allow_empty of the table."
            )
