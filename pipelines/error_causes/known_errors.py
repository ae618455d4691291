"""Errors that dlt, object stores and the machine raise, known by their names and attributes.

What others say in their errors may quote rows: no sentence repeats it. Each function takes an error, the names of its
classes and the run's step, and gives one of ours, or None for what it does not know.
"""

import errno

from pipelines.errors import ConfigurationError, Fields, RunError, Side, Step, TransientError, UnexpectedError, refused


def side_of(step: Step) -> Side:
    """Whose database or host a step talks to."""
    match step:
        case Step.LOAD:
            return Side.DESTINATION
        case Step.PREPARE:
            return Side.PLATFORM
    return Side.SOURCE


_FIELDS: dict[Side, Fields] = {
    Side.SOURCE: Fields("its address in source", "its address in source", "the credentials in source", "source"),
    Side.DESTINATION: Fields(
        url="its address in destination",
        place="its address in destination, and dataset_name",
        login="destination.credentials",
        request="destination",
    ),
    Side.PLATFORM: Fields("PREFECT_API_URL", "PREFECT_API_URL", "PREFECT_API_AUTH_STRING", "PREFECT_API_URL"),
}
"""The names where nobody knows better: whoever reads a source over HTTP does."""


def http(error: BaseException, names: set[str], step: Step) -> RunError | None:
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    if not isinstance(status, int):
        return None
    request = getattr(response, "request", None) or getattr(error, "request", None)
    side = side_of(step)
    return refused(status, str(getattr(request, "url", None) or ""), side, _FIELDS[side])


def bucket(error: BaseException, names: set[str], step: Step) -> RunError | None:
    """Errors of object stores and SFTP, by their HTTP status where they have one."""
    response = getattr(error, "response", None)
    if "ClientError" in names and isinstance(response, dict):  # AWS
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    elif "AzureError" in names:
        status = getattr(error, "status_code", None) or 503
    elif "HttpError" in names:  # Google
        status = getattr(error, "code", None)
    elif names & {"RefreshError", "AuthenticationException"}:
        status = 401
    else:
        away = names & {"EndpointConnectionError", "HTTPClientError", "NoValidConnectionsError", "SSHException"}
        status = 503 if away else None
    side = side_of(step)
    match status:
        case 400 | 401 | 403:
            return ConfigurationError(
                f"The {side}'s bucket does not accept the login or forbids this: check {side}.credentials, "
                "the secret it refers to, and what it may do there."
            )
        case 404:
            return ConfigurationError(f"The {side}'s bucket or directory is not there: check {side}.url.")
        case None:
            return None
    return TransientError(
        f"The {side}'s bucket could not be reached or is overloaded: check {side}.url and the network."
    )


def contract(error: BaseException, names: set[str], step: Step) -> RunError | None:
    if "DataValidationError" not in names:
        return None
    table, column = getattr(error, "table_name", "?"), getattr(error, "column_name", None)
    what = f"column '{column}' of table '{table}'" if column else f"table '{table}'"
    return ConfigurationError(
        f"The schema contract is broken by {what}: the source sends what the frozen schema does not have; "
        "set schema_contract to evolve or discard_value, or correct the source."
    )


def package(error: BaseException, names: set[str], step: Step) -> RunError | None:
    if not names & {"MissingDependencyException", "ModuleNotFoundError"}:
        return None
    packages = [
        str(name) for name in getattr(error, "dependencies", None) or [getattr(error, "name", None) or "a package"]
    ]
    extra = next((_EXTRAS[root] for name in packages if (root := name.partition(".")[0]) in _EXTRAS), None)
    what = f"install the extra '{extra}' of this package" if extra else "install it"
    return ConfigurationError(
        f"The worker lacks {', '.join(packages)}, which this kind needs: {what} in the worker's image."
    )


_EXTRAS = {
    **dict.fromkeys(("pymysql", "pymssql", "oracledb"), "databases"),
    **dict.fromkeys(("s3fs", "adlfs", "gcsfs", "paramiko", "azure", "google"), "buckets"),
    **dict.fromkeys(("dlt[s3]", "dlt[az]", "dlt[gs]", "dlt[sftp]"), "buckets"),
    **dict.fromkeys(("deltalake", "dlt[deltalake]"), "lakes"),
}
"""The extra of pyproject.toml that brings a package."""


def header(error: BaseException, names: set[str], step: Step) -> RunError | None:
    if "InvalidHeader" not in names and "nvalid header value" not in str(error):
        return None
    return ConfigurationError(
        "A header or a secret in it holds a line break or another character that no header takes."
    )


def settings(error: BaseException, names: set[str], step: Step) -> RunError | None:
    if "ConfigurationException" not in names:
        return None
    lacking = ", ".join(sorted(getattr(error, "fields", None) or ()))
    detail = f"lacks {lacking}" if lacking else "is not what this kind takes"
    return ConfigurationError(f"{side_of(step)}.credentials {detail}: complete the secret or block it refers to.")


def address(error: BaseException, names: set[str], step: Step) -> RunError | None:
    malformed = names & {"NoSuchModuleError", "ArgumentError", "InvalidConnectionString", "InvalidNativeValue"}
    if not malformed:
        return None
    return ConfigurationError(
        f"{side_of(step)}.credentials holds no address that is understood: "
        "it must look like postgresql://user:password@host:5432/database."
    )


def table(error: BaseException, names: set[str], step: Step) -> RunError | None:
    if "NoSuchTableError" in names:
        return ConfigurationError(f"The source has no table {error}: check source.tables and source.schema.")
    if "IncrementalCursorInvalidCoercion" in names:
        return ConfigurationError(
            f"The cursor '{getattr(error, 'cursor_path', '')}' can't be compared with the value to begin at: "
            "initial_value must be of the cursor's own type, and a backfill needs a cursor that holds moments."
        )
    if names & {"IncrementalCursorPathMissing", "IncrementalCursorPathHasValueNone"}:
        return ConfigurationError(
            f"The cursor '{getattr(error, 'json_path', '')}' is missing or empty in some rows: "
            "name another cursor, or load with a primary key and write_disposition merge."
        )
    return None


def schema(error: BaseException, names: set[str], step: Step) -> RunError | None:
    """What dlt refuses because of a table's schema. Table and column are names of the schema, not of rows."""
    table, column = getattr(error, "table_name", None), getattr(error, "column_name", None)
    place = (f"column '{column}' of " if column else "") + f"table '{table}'"
    if "UnboundColumnException" in names:
        return ConfigurationError(
            f"A column of table '{table}' that must have a value, such as its primary_key, came with none: name "
            f"another "
            "key, or correct the source."
        )
    if names & {"CannotCoerceColumnException", "CannotCoerceNullException"}:
        return ConfigurationError(
            f"Values do not fit the type of {place if table else 'a column'}: give the column its type with types in "
            "source, or load the table anew with full_refresh."
        )
    if names & {"TablePropertiesConflictException", "DestinationSchemaWillNotUpdate", "TableIdentifiersFrozen"}:
        return ConfigurationError(
            f"The destination's {place} can't be changed to what the connector now asks for: load it anew with "
            "full_refresh, or name another dataset_name."
        )
    return None


def machine(error: BaseException, names: set[str], step: Step) -> RunError | None:
    if isinstance(error, MemoryError):
        return UnexpectedError("The worker ran out of memory.")
    if not isinstance(error, OSError):
        return None
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return UnexpectedError("The worker's disk is full: free space below CAI_DATA_DIR, or move it.")
    if error.errno in _PLACES and error.filename is not None:
        side = side_of(step)
        if side is Side.PLATFORM:
            return UnexpectedError("The worker can't write below CAI_DATA_DIR: check that directory's owner and mode.")
        place = "destination.path or destination.url" if side is Side.DESTINATION else "source.url"
        return ConfigurationError(
            f"A file or directory of the {side} is missing, is something else, or is closed to the worker: check "
            f"{place} "
            "and what the worker may do there."
        )
    return None


_PLACES = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST}
"""What the operating system says of a path that is wrong, for as long as nobody corrects it."""
