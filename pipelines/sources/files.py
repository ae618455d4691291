"""Files of one format below a directory or bucket, into one table. A run reads the files that are new or changed.

Which files were read is kept in the state that dlt stores with the rows, by name, size and time of change; a bare
"newer than" would miss a file that arrives late with an old date.
"""

import csv
import gzip
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import dlt
import orjson
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from dlt.common.configuration import resolve_configuration
from dlt.common.storages import FilesystemConfiguration, fsspec_from_config
from dlt.extract import DltResource

from connectors.kinds import FilesSource
from pipelines.buckets import KNOWN_HOSTS, bucket_of, host_of
from pipelines.errors import ConfigurationError
from pipelines.sources import Context
from pipelines.tabular import Tabular
from pipelines.textual import Textual

ROWS = 50_000
CSV_BLOCK_BYTES = 8 * 1024 * 1024
_SNIFFED_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Found:
    """One file: where it is, its name below the source's url, and a mark that changes when its content does."""

    path: str
    name: str
    mark: str


def resources(source: FilesSource, context: Context) -> list[DltResource]:
    """The one table of a `files` source."""
    if context.row_limit is not None and source.write_disposition == "append" and not context.rehearsal:
        raise ConfigurationError(
            f"row_limit can't be used with {source.table}, which appends files: "
            "the next run would bring its rows again. Give it a primary key and merge."
        )
    if context.window:
        raise ConfigurationError(
            f"{source.table} is read from files, which a backfill can't choose among by time: run a full refresh."
        )
    files, found = _find(source, context)

    def read() -> Iterator[Any]:
        # `replace` means all files each time, and so does a limit, which leaves a file half read.
        partial = source.write_disposition == "replace" or context.row_limit is not None
        seen = {} if partial else dlt.current.resource_state().setdefault("files", {})
        left = context.row_limit
        for file in found:
            key = hashlib.blake2b(file.name.encode(), digest_size=9).hexdigest()
            if seen.get(key) == file.mark:
                continue
            for page in _read(files, file, source):
                rows = page if left is None else page[:left]
                yield rows
                if left is not None:
                    left -= len(rows)
                    if left <= 0:
                        return
            # Reaches the destination with the rows, in the same load: if the process dies, neither does.
            seen[key] = file.mark

    resource = dlt.resource(
        read,
        name=source.table,
        primary_key=list(source.primary_key) or None,  # type: ignore[arg-type]
        write_disposition=source.write_disposition,
    )
    if source.format == "jsonl":
        resource.add_step(Tabular(source.table))
    elif source.format == "csv":
        resource.add_step(Textual(source.table))
    return [resource]


def _find(source: FilesSource, context: Context) -> tuple[Any, list[Found]]:
    """The file system and its files that match, by name."""
    scheme, separator, rest = source.url.partition("://")
    local = not separator or scheme == "file"
    url = (rest if separator else source.url) if local else source.url
    # An address may name one file itself.
    root, pattern = url.rstrip("/"), source.glob or f"**/*.{source.format}*"
    if source.glob is None and PurePosixPath(root).suffix in {".csv", ".jsonl", ".parquet", ".gz"}:
        root, _, pattern = root.rpartition("/")
    if local:
        return _local(Path(root), pattern, context)
    value = None if source.credentials is None else context.secrets.resolve(source.credentials)
    bucket = bucket_of(
        root, value, "source.credentials", host_key=source.host_key, known_hosts=context.data_dir / KNOWN_HOSTS
    )
    context.denied.check(*host_of(bucket))
    given = {"bucket_url": bucket.url, "credentials": bucket.credentials, "kwargs": bucket.options or None}
    explicit = {key: item for key, item in given.items() if item is not None}
    config = resolve_configuration(FilesystemConfiguration(bucket_url=bucket.url), explicit_value=explicit)
    files, base = fsspec_from_config(config)
    found = [
        Found(path, path.removeprefix(str(base)).lstrip("/"), _mark(info))
        for path, info in sorted(files.glob(f"{str(base).rstrip('/')}/{pattern}", detail=True).items())
        if info.get("type") == "file"
    ]
    return files, found


def _mark(info: dict[str, Any]) -> str:
    changed = next(
        (info[key] for key in ("ETag", "etag", "mtime", "LastModified", "last_modified") if info.get(key)), ""
    )
    return hashlib.blake2b(f"{changed}-{info.get('size')}".encode(), digest_size=9).hexdigest()


def _local(root: Path, pattern: str, context: Context) -> tuple[None, list[Found]]:
    roots = [allowed.resolve() for allowed in context.local_file_roots]
    real = root.resolve()
    if not any(real.is_relative_to(allowed) for allowed in roots):
        raise ConfigurationError(
            "source.url is not below a directory that this installation opens to connectors: "
            "ask operations to add it to CAI_LOCAL_FILE_ROOTS, or move the files."
        )
    if not real.is_dir():
        raise ConfigurationError("source.url is no directory on this worker: check the path.")
    found = []
    for path in sorted(real.glob(pattern)):
        # A link inside may lead outside.
        if path.is_file() and any(path.resolve().is_relative_to(allowed) for allowed in roots):
            status = path.stat()
            found.append(
                Found(
                    str(path), str(path.relative_to(real)), _mark({"mtime": status.st_mtime_ns, "size": status.st_size})
                )
            )
    return None, found


def _read(files: Any, file: Found, source: FilesSource) -> Iterator[Any]:
    """A file's pages: Arrow tables, whose columns are text for csv, or lists of rows for jsonl."""
    with files.open(file.path, "rb") if files is not None else Path(file.path).open("rb") as raw:
        stream: Any = gzip.GzipFile(fileobj=raw) if file.name.endswith(".gz") else raw
        try:
            match source.format:
                case "parquet":
                    for batch in pyarrow.parquet.ParquetFile(stream).iter_batches(batch_size=ROWS):
                        yield pa.Table.from_batches([batch])
                case "jsonl":
                    yield from _json_lines(stream, file)
                case "csv":
                    yield from _csv(stream)
        except pa.ArrowInvalid:
            # Arrow's message quotes the line, and with it a patient's data.
            raise ConfigurationError(f"{file.name} is no valid {source.format} file: correct or remove it.") from None


def _json_lines(stream: Any, file: Found) -> Iterator[list[Any]]:
    page: list[Any] = []
    for number, line in enumerate(stream, start=1):
        if line.strip():
            try:
                page.append(orjson.loads(line))
            except orjson.JSONDecodeError:
                raise ConfigurationError(f"Line {number} of {file.name} is no JSON: correct or remove it.") from None
        if len(page) == ROWS:
            yield page
            page = []
    if page:
        yield page


def _csv(stream: Any) -> Iterator[pa.Table]:
    head = stream.read(_SNIFFED_BYTES)
    stream.seek(0)
    if not head.strip():
        return
    encoding, text = _decoded(head)
    header = next(csv.reader([text.splitlines()[0]], delimiter=_delimiter(text)))
    reader = pyarrow.csv.open_csv(
        stream,
        read_options=pyarrow.csv.ReadOptions(block_size=CSV_BLOCK_BYTES, encoding=encoding),
        parse_options=pyarrow.csv.ParseOptions(delimiter=_delimiter(text), newlines_in_values=True),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types={name.lstrip("\ufeff"): pa.string() for name in header},
            strings_can_be_null=True,
            null_values=[""],
        ),
    )
    for batch in reader:
        table = pa.Table.from_batches([batch])
        # What writes a table's index first gives it no name. The mask, which comes next, knows the column by this one.
        yield table.rename_columns([name.strip() or "column" for name in table.column_names])


def _decoded(head: bytes) -> tuple[str, str]:
    """The encoding of a file and its beginning: UTF-8, or what older clinical systems write."""
    try:
        # The end of the part that was read may cut a character.
        return "utf-8", head.decode("utf-8-sig", errors="strict" if len(head) < _SNIFFED_BYTES else "ignore")
    except UnicodeDecodeError:
        return "cp1252", head.decode("cp1252", errors="replace")


def _delimiter(text: str) -> str:
    line = text.splitlines()[0]
    return max(",;\t|", key=line.count)
