"""The shapes of a connector's JSON: what is taken, what it defaults to, and what is refused, where and how."""

import importlib
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from connectors.connector import RunPolicy
from connectors.destinations import Destination
from connectors.destinations.other import OTHER_DESTINATIONS
from connectors.refusals import Refusal, from_pydantic
from connectors.sources import Source
from connectors.sources.write_rules import normalised, snake_case

SOURCE: TypeAdapter[Source] = TypeAdapter(Source)
DESTINATION: TypeAdapter[Destination] = TypeAdapter(Destination)
CANARY = "hunter2-canary"

CONTRACT = [
    {
        "type": "rest_api", "base_url": "http://10.0.0.5/api", "auth": {"type": "bearer", "token": {"secret": "x"}},
        "headers": {"Accept": "application/json", "X-Api-Key": {"env": "CAI_SECRET_KEY"}},
        "paginator": {"type": "json_link"},
        "resources": [
            {
                "name": "visits", "path": "visits", "method": "GET", "params": {}, "data_selector": "$",
                "primary_key": "id", "cursor_path": "updated_at", "cursor_param": "since",
                "initial_value": "2024-01-01", "write_disposition": "merge",
            }
        ],
    },
    {"type": "fhir", "base_url": "https://f", "resource_types": ["Patient"], "page_size": 200, "since": "2024-01-01"},
    {
        "type": "redcap", "api_url": "https://redcap/api/", "token": {"secret": "x"},
        "content": ["record", "metadata"], "forms": [], "date_range": True,
    },
    {
        "type": "sql_database", "credentials": {"block": "sqlalchemy-connector/emr"}, "schema": "public",
        "tables": [
            {
                "name": "visit", "primary_key": ["id"], "cursor_column": "at", "write_disposition": "merge",
                "columns": [],
            }
        ],
    },
    {
        "type": "files", "url": "s3://bucket/labs", "glob": "**/*.csv", "format": "csv", "table": "labs",
        "primary_key": [], "write_disposition": "append", "credentials": {"block": "aws-credentials/lake"},
    },
]  # fmt: skip
"""The examples of the contract, one for each kind."""


def refusals(value: Any, adapter: TypeAdapter[Any] = SOURCE, root: str = "source") -> list[Refusal]:
    with pytest.raises(ValidationError) as caught:
        adapter.validate_python(value)
    return from_pydantic(caught.value, root)


def rest(**keys: Any) -> dict[str, Any]:
    return {"type": "rest_api", "base_url": "https://emr/api", "resources": [{"name": "a", "path": "a"}], **keys}


def resource(**keys: Any) -> dict[str, Any]:
    return rest(resources=[{"name": "a", "path": "a", **keys}])


@pytest.mark.parametrize("example", CONTRACT, ids=lambda example: example["type"])
def test_the_contract_is_taken_with_mask_and_schema_contract(example: dict[str, Any]) -> None:
    made = SOURCE.validate_python({**example, "mask": ["ssn"], "schema_contract": "freeze"})
    assert (made.type, made.mask, made.schema_contract) == (example["type"], ("ssn",), "freeze")


@pytest.mark.parametrize("example", CONTRACT, ids=lambda example: example["type"])
def test_an_unknown_key_is_refused_wherever_it_stands(example: dict[str, Any]) -> None:
    assert [refusal.pointer for refusal in refusals({**example, "tabels": 1})] == ["/source/tabels"]
    for key, value in example.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            nested = {**example, key: [{**value[0], "nmae": 1}]}
            assert [refusal.pointer for refusal in refusals(nested)] == [f"/source/{key}/0/nmae"]


def test_only_type_address_and_names_are_required() -> None:
    made = [
        SOURCE.validate_python(rest()),
        SOURCE.validate_python({"type": "fhir", "base_url": "http://fhir"}),
        SOURCE.validate_python({"type": "redcap", "api_url": "http://r/api/", "token": {"secret": "x"}}),
        SOURCE.validate_python({"type": "sql_database", "credentials": {"secret": "x"}, "tables": [{"name": "t"}]}),
        SOURCE.validate_python({"type": "files", "url": "/data/labs"}),
    ]
    assert [source.type for source in made] == ["rest_api", "fhir", "redcap", "sql_database", "files"]


def test_rows_are_merged_by_a_primary_key_and_else_appended() -> None:
    with_key, without = (SOURCE.validate_python(resource(**keys)) for keys in ({"primary_key": "id"}, {}))
    assert with_key.resources[0].write_disposition == "merge"  # type: ignore[union-attr]
    assert without.resources[0].write_disposition == "append"  # type: ignore[union-attr]


def test_a_files_source_finds_format_and_table_in_its_address() -> None:
    made = SOURCE.validate_python({"type": "files", "url": "s3://bucket/in/x.jsonl.gz"})
    assert (made.format, made.table) == ("jsonl", "x")  # type: ignore[union-attr]
    assert SOURCE.validate_python({"type": "files", "url": "/data/labs/"}).table == "labs"  # type: ignore[union-attr]


SECRETS_IN_THE_OPEN: list[tuple[dict[str, Any], str]] = [
    (rest(auth={"type": "bearer", "token": CANARY}), "/source/auth/token"),
    (rest(auth={"type": "http_basic", "username": "u", "password": CANARY}), "/source/auth/password"),
    (rest(auth={"type": "api_key", "api_key": CANARY}), "/source/auth/api_key"),
    (rest(headers={"Authorization": "Bearer " + CANARY}), "/source/headers/Authorization"),
    (rest(headers={"cookie": CANARY}), "/source/headers/cookie"),
    (rest(headers={"X-Auth-Token": CANARY}), "/source/headers/X-Auth-Token"),
    (rest(base_url=f"https://user:{CANARY}@emr/api"), "/source/base_url"),
    (rest(base_url=f"https://{CANARY}@emr/api"), "/source/base_url"),
    (rest(base_url=f"https://emr/api?api_key={CANARY}"), "/source/base_url"),
    (resource(path=f"a?token={CANARY}"), "/source/resources/0/path"),
    (resource(params={"access_token": CANARY}), "/source/resources/0/params/access_token"),
    (resource(method="POST", body={"login": {"password": CANARY}}), "/source/resources/0/body/login/password"),
    ({"type": "redcap", "api_url": "https://r/api/", "token": CANARY}, "/source/token"),
    ({"type": "fhir", "base_url": f"https://u:{CANARY}@fhir"}, "/source/base_url"),
    (
        {"type": "sql_database", "credentials": f"postgresql://u:{CANARY}@h/d", "tables": [{"name": "t"}]},
        "/source/credentials",
    ),
    ({"type": "files", "url": f"sftp://u:{CANARY}@host/in"}, "/source/url"),
    ({"type": "files", "url": f"s3://key:{CANARY}@bucket/in"}, "/source/url"),
]


@pytest.mark.parametrize(
    ("value", "pointer"), SECRETS_IN_THE_OPEN, ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_secret_in_the_open_is_refused_with_the_way_out_and_not_repeated(value: dict[str, Any], pointer: str) -> None:
    (refusal,) = refusals(value)
    assert refusal.pointer == pointer
    assert '{"secret": "its-name"}' in refusal.message
    assert CANARY not in refusal.message


def test_a_secret_is_in_no_repr_and_in_no_error_of_pydantic() -> None:
    with pytest.raises(ValidationError) as caught:
        SOURCE.validate_python(rest(auth={"type": "bearer", "token": CANARY}, headers={"Cookie": CANARY}))
    assert CANARY not in "".join(refusal.message for refusal in from_pydantic(caught.value, "source"))


NO_CURSOR: list[Any] = [[], {}, True]


def fhir(**keys: Any) -> dict[str, Any]:
    return {"type": "fhir", "base_url": "http://f", **keys}


def tunnelled(**keys: Any) -> dict[str, Any]:
    ssh = {"host": "bastion", "user": "u", "private_key": {"secret": "k"}} | keys
    return {"type": "sql_database", "credentials": {"secret": "x"}, "tables": [{"name": "t"}], "ssh": ssh}


SENTENCES: list[tuple[Any, str, str]] = [
    (
        "x",
        "/source/type",
        "source.type must say which kind it is, one of: rest_api, fhir, redcap, sql_database, files.",
    ),
    ({"type": "sap"}, "/source/type", "source.type must say which kind it is"),
    (rest(resources=[]), "/source/resources", "source.resources must not be empty."),
    (
        rest(resources=[{"name": "a", "path": "a"}, {"name": "A ", "path": "b"}]),
        "/source/resources/1/name",
        "is there twice",
    ),
    (rest(base_url="ftp://emr"), "/source/base_url", "must be an address that starts with http:// or https://"),
    (rest(base_url="https://em r/"), "/source/base_url", "must be an address"),
    (rest(paginator={"type": "offset"}), "/source/paginator/limit", "source.paginator.limit is required."),
    (
        rest(mask="x", resources=[{"name": "a", "path": "a", "cursor_path": "X"}]),
        "/source/mask",
        "must not hold a cursor",
    ),
    (resource(write_disposition="upsert"), "/source/resources/0/write_disposition", "'append', 'merge' or 'replace'"),
    (resource(write_disposition="merge"), "/source/resources/0/write_disposition", "needs a primary_key"),
    (resource(cursor_param="since"), "/source/resources/0/cursor_param", "needs a cursor_path"),
    (resource(lag=5), "/source/resources/0/lag", "needs a cursor_path"),
    (resource(cursor_path="at", lag=-1), "/source/resources/0/lag", "source.resources.0.lag"),
    (
        resource(cursor_path="at", initial_value="12/31/2023"),
        "/source/resources/0/initial_value",
        "must be a moment or a day such as",
    ),
    (resource(name="_dlt_loads"), "/source/resources/0/name", "must not start with '_dlt'"),
    ({"type": "files", "url": "labs"}, "/source/url", "must be an absolute path"),
    ({"type": "files", "url": "/data/../etc"}, "/source/url", "must not go up"),
    ({"type": "files", "url": "/data", "glob": "../*"}, "/source/glob", "must be a pattern below the url"),
    ({"type": "fhir", "base_url": "http://f", "since": "yesterday"}, "/source/since", "must be a date, such as"),
    (fhir(group="g1"), "/source/group", "source.group is of an export: set mode to bulk or auto"),
    (fhir(deletes="mark", patients={"group": "g1"}), "/source/deletes", "can't be used with patients"),
    (fhir(mode="bulk", group="a/b"), "/source/group", "must be the id of a FHIR resource"),
    (fhir(mode="auto", group="g", export_level="patient"), "/source/export_level", "can't be used with group"),
    (fhir(mode="bulk", type_filters=["Observation?"]), "/source/type_filters/0", "must be a search of one type"),
    (fhir(mode="bulk", type_filters=["Device?a=b"]), "/source/type_filters/0", "that resource_types has not"),
    (fhir(next_hosts=["https://f"]), "/source/next_hosts/0", "must be the name of a host"),
    (fhir(mode="bulk", patients={"group": "g"}), "/source/patients", "are of a search"),
    (fhir(patients={"group": "g", "list": ["p"]}), "/source/patients", "must have one of group, list and search"),
    (fhir(patients={}), "/source/patients", "must have one of group, list and search"),
    (tunnelled(host="bastion:22"), "/source/ssh/host", "its port goes into port"),
    (tunnelled(host_key="ab:cd"), "/source/ssh/host_key", "must be a fingerprint as ssh-keygen -l writes it"),
    (tunnelled(private_key=f"-----BEGIN {CANARY}"), "/source/ssh/private_key", "create a Secret block"),
    (fhir(ssh={"host": "bastion"}), "/source/ssh", "source.ssh works with sql_database only, and what is named here"),
    (fhir(overlap=3), "/source/overlap", "needs patients"),
    *(
        (
            resource(cursor_path="at", initial_value=value),
            "/source/resources/0/initial_value",
            "source.resources.0.initial_value must be text or a number, such as '2024-01-01'.",
        )
        for value in NO_CURSOR
    ),
]


@pytest.mark.parametrize(("value", "pointer", "words"), SENTENCES)
def test_a_refusal_is_one_sentence_with_its_place(value: Any, pointer: str, words: str) -> None:
    (refusal,) = refusals(value)
    assert refusal.pointer == pointer
    assert words in refusal.message
    assert "<" not in refusal.message.replace("<5", "")


ODD: list[Any] = [None, [], {}, "", "x", -1, 0, 1.5, 10**12, True, [[]], [{}], {"x": []}]


def with_odd_parts(value: Any) -> Iterator[Any]:
    """`value` with each of its parts in turn replaced by each odd value."""
    yield from ODD
    if isinstance(value, dict | list):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            for odd in with_odd_parts(part):
                copy = value.copy()
                copy[key] = odd
                yield copy


POLICY = {"overlap": "queue", "missed_runs": "all", "retries": 1, "retry_delay_seconds": 1, "timeout_seconds": 1}


@pytest.mark.parametrize(
    ("adapter", "examples"),
    [
        (SOURCE, [*CONTRACT, rest(paginator={"type": "offset", "limit": 1, "stop_after_empty_page": True})]),
        (
            DESTINATION,
            [
                {"type": "filesystem", "url": "/lake", "format": "csv", "credentials": {"secret": "x"}},
                {"type": "postgres", "credentials": {"secret": "x"}, "ssh": tunnelled()["ssh"]},
            ],
        ),
        (TypeAdapter(RunPolicy), [{**POLICY, "auto_pause_after": 1}]),
    ],
    ids=["source", "destination", "run_policy"],
)
def test_no_refusal_is_a_validators_own_text(adapter: TypeAdapter[Any], examples: list[dict[str, Any]]) -> None:
    seen = 0
    for odd in (odd for example in examples for odd in with_odd_parts(example)):
        try:
            adapter.validate_python(odd)
        except ValidationError as error:
            for refusal in from_pydantic(error, "it"):
                seen += 1
                assert not re.match(r"[^ ]+: ", refusal.message), f"nobody has put this in words: {refusal.message}"
    assert seen > 50


@pytest.mark.parametrize(
    "value",
    [
        {"type": "duckdb", "path": "warehouse.duckdb"},
        {"type": "postgres", "credentials": {"secret": "warehouse"}, "schema_contract": "freeze"},
        {"type": "filesystem", "url": "s3://lake/clinical"},
        {"type": "snowflake", "credentials": {"env": "CAI_SECRET_SNOWFLAKE"}},
    ],
)
def test_destinations_of_the_contract_are_taken(value: dict[str, Any]) -> None:
    assert DESTINATION.validate_python(value).type == value["type"]


def test_a_destination_with_a_typing_error_is_no_destination_of_dlt() -> None:
    (refusal,) = refusals({"type": "postgress", "credentials": {"secret": "x"}}, DESTINATION, "destination")
    assert (refusal.pointer, "duckdb, postgres, filesystem" in refusal.message) == ("/destination/type", True)


def test_iceberg_is_refused_with_the_way_out() -> None:
    (refusal,) = refusals({"type": "filesystem", "url": "/lake", "format": "iceberg"}, DESTINATION, "destination")
    assert (refusal.pointer, "use delta" in refusal.message) == ("/destination/format", True)


def test_the_other_destinations_are_those_that_dlt_has() -> None:
    import dlt  # seconds: only here

    assert all(hasattr(dlt.destinations, name) for name in OTHER_DESTINATIONS)


@given(st.text(alphabet="aAbB1 _-+*@|$éZ", min_size=1, max_size=12).filter(lambda name: name.strip()))
def test_names_are_compared_as_dlt_lands_them(name: str) -> None:
    convention = importlib.import_module("dlt.common.normalizers.naming.snake_case").NamingConvention()
    assert snake_case(name) == convention.normalize_identifier(name)
    assert normalised(name.replace("é", "e")) == normalised(name)
    assert convention.normalize_identifier(normalised(name)) == normalised(name)


@pytest.mark.parametrize(
    ("name", "landed"),
    [
        ("Дата рождения", "data_rozhdeniya"),
        ("объём", "obem"),
        ("患者姓名", "huan_zhe_xing_ming"),
        ("Größe", "grosse"),
        ("e\u0301tat", "etat"),
        ("Ηλικία", "ilikia"),
    ],
)
def test_a_name_in_another_script_is_recognised(name: str, landed: str) -> None:
    assert normalised(name) == landed


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["type", "base_url", "resources", "name", "path", "auth", "credentials", "tables", "x"]
                ),
                inner,
                max_size=4,
            )
        ),
    )
)
def test_no_json_at_all_makes_anything_but_refusals(value: Any) -> None:
    for kind in ("rest_api", "fhir", "redcap", "sql_database", "files"):
        shaped = {**value, "type": kind} if isinstance(value, dict) else value
        try:
            SOURCE.validate_python(json.loads(json.dumps(shaped)))
        except ValidationError as error:
            for refusal in from_pydantic(error, "source"):
                assert refusal.pointer.startswith("/source")
                assert refusal.message.endswith(".")


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"format": "hl7"}, "source.parts is missing: hl7 files need it, such as ['PID', 'OBX']."),
        ({"format": "xml"}, "source.row_path is missing"),
        ({"format": "fixed"}, "source.fields is missing"),
        ({"format": "fixed", "fields": [{"name": "a", "first": 3, "last": 2}]}, "must not be before first"),
        ({"format": "xml", "row_path": "/a[1]"}, "source.row_path must be names with slashes between"),
        ({"format": "parquet", "decimal": ","}, "source.decimal means nothing for parquet files"),
        ({"format": "odm", "parts": ["IG.A", "ig_a"]}, "is there twice"),
        ({"tables": [{"table": "a"}], "delimiter": ";"}, "source.delimiter is said of each of tables"),
        ({"tables": [{"table": "a"}, {"table": "A"}]}, "is there twice"),
        ({"tables": [{"glob": "*.csv"}]}, "source.tables.0.table is required"),
    ],
)
def test_files_say_what_their_format_needs(keys: dict[str, object], words: str) -> None:
    assert words in " ".join(each.message for each in refusals({"type": "files", "url": "/in", **keys}))
