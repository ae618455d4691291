"""All configuration, in one place: environment variables with the prefix ``CAI_``.

Prefect's own settings (``PREFECT_API_URL`` and the like) stay Prefect's and are not repeated here.
"""

import ipaddress
import json
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from connectors.discovery import Probe
from connectors.limits.closed_sets import ClosedSet
from connectors.limits.hosts import DENIED_HOSTS
from connectors.limits.names import why_no_pool
from connectors.people import Grant, NameableSecrets

ROOT = Path(__file__).resolve().parent
"""The repository's root (or the image's working directory): relative entry points start here."""


_PRIVATE_PARTS = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}
"""Members of a JWK that only its owner has."""


class LogFormat(ClosedSet):
    """What log lines are written as."""

    TEXT = "text"
    JSON = "json"


class MissingDatabaseError(RuntimeError):
    """No database is configured and none is running here."""


def _split(value: object) -> object:
    """``"a, b"`` to ``["a", "b"]``: lists in the environment are comma separated."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


class SignInSettings(BaseSettings):
    """Who else tells the REST API who somebody is: an OpenID Connect provider, or a proxy that authenticates."""

    model_config = SettingsConfigDict(env_prefix="CAI_", frozen=True, extra="ignore", hide_input_in_errors=True)

    oidc_issuer: str | None = Field(
        None,
        description="OpenID Connect provider whose access tokens (JWT) the REST API takes, exactly as it names itself.",
    )
    oidc_client_id: str | None = Field(None, description="This installation's client id there. Needed with the issuer.")
    oidc_client_secret: SecretStr | None = Field(
        None, description="Its secret there, for the log-in at the page. Unset: a public client, with PKCE alone."
    )
    oidc_scopes: str = Field(
        "openid profile email",
        pattern=r"(^|.* )openid( .*|$)",
        description="Scopes that the log-in at the page asks for, with spaces. Some providers tell groups only for one "
        "of their own, such as `groups`.",
    )
    page_url: str | None = Field(
        None,
        pattern=r"^https?://[^/?#@\s]+$",
        description="Address of the page as browsers have it, such as https://connectors.example.org, without a path. "
        "With https, cookies are sent over https alone; the log-in comes back to its /login/callback. Unset: the "
        "address that a request names.",
    )
    oidc_audience: str | None = Field(
        None,
        description="Audience of access tokens for this API. Unset: the client id; then only tokens of the type "
        "`at+jwt` are taken, for an ID token has that audience too.",
    )
    oidc_groups_claim: str = Field("groups", min_length=1, description="Claim that lists a user's groups.")
    oidc_roles: dict[str, Grant] = Field(
        default_factory=dict,
        description='Groups and their roles, as JSON: {"oncology-editors": {"role": "editor", "team": "oncology"}, '
        '"platform": {"role": "admin"}}. Without a team: for all. Who is in none of them may do nothing.',
    )
    trusted_user_header: str | None = Field(
        None, min_length=1, description="Header in which a proxy that authenticates names the user."
    )
    trusted_groups_header: str = Field(
        "X-Forwarded-Groups", min_length=1, description="Header in which it lists his groups, comma separated."
    )
    trusted_proxies: Annotated[list[str], NoDecode] = Field(
        default_factory=list, description="Addresses and networks, comma separated, from which these headers count."
    )

    _split_proxies = field_validator("trusted_proxies", mode="before")(_split)

    @field_validator("oidc_roles", mode="before")
    @classmethod
    def _roles(cls, value: object) -> object:
        for group, granted in value.items() if isinstance(value, dict) else ():
            if isinstance(granted, dict) and (unknown := granted.keys() - {"role", "team"}):
                # Passed over, a misspelt team would be a role for all of them.
                raise ValueError(f"CAI_OIDC_ROLES: {group} has {', '.join(sorted(unknown))}: it takes role and team.")
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: list[str]) -> list[str]:
        for each in value:
            ipaddress.ip_network(each)
        return value

    @model_validator(mode="after")
    def _sign_in(self) -> Self:
        if self.oidc_issuer is not None and not self.oidc_client_id:
            raise ValueError("CAI_OIDC_ISSUER needs CAI_OIDC_CLIENT_ID.")
        if self.trusted_user_header is not None and not self.trusted_proxies:
            raise ValueError("CAI_TRUSTED_USER_HEADER needs CAI_TRUSTED_PROXIES: else anybody could send that header.")
        return self


class ApiSettings(SignInSettings):
    """What the REST API and the page are told."""

    reason_required: bool = Field(
        False,
        description="Whether a change through the REST API, a form or the page needs a reason (header X-Reason, field "
        "reason), which the history keeps: of a connector, a token, a credential or a profile of what may land.",
    )
    audit_keep_days: int | None = Field(
        None,
        ge=1,
        description="Days of history that stay in the database when `python -m api.history.archive DIR` moves whole "
        "sealed days out. Unset: it moves none, and all is kept.",
    )
    api_host: str = Field("127.0.0.1", description="Address that the REST API binds.")
    probe: Probe = Field(
        Probe.API,
        description="Where the REST API and the page look at a source that is not saved yet: `api`: beside the API; "
        "`worker`: as a run where loads run, which alone must reach the sources and have their credentials.",
    )
    probe_seconds: float = Field(
        55, gt=0, le=200, description="Seconds that somebody waits for it: fewer than a proxy before the API does."
    )
    api_port: int = Field(8080, ge=1, le=65535, description="Port of the REST API.")


class Settings(ApiSettings):
    """Everything that an installation can turn. Read once at an entry point and passed down."""

    model_config = SettingsConfigDict(env_prefix="CAI_", frozen=True, extra="ignore", hide_input_in_errors=True)

    database_url: SecretStr | None = Field(
        None,
        description="PostgreSQL that holds `cai_connectors`, as postgresql://user:password@host/db. "
        "Unset: the embedded PostgreSQL that `make run` started under CAI_DATA_DIR.",
    )
    instance: str = Field(
        "clinical-ai",
        pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$",
        description="Name by which this installation knows its own in Prefect: lowercase letters, digits and dashes. "
        "Never rename it: each deployment would be a conflict. Two installations need two Prefect servers: the names "
        "of deployments, connector-{id}-pipeline, are the same in both.",
    )
    work_pool: str = Field("default", min_length=1, description="Work pool of connectors that name none.")
    work_queue: str = Field("default", min_length=1, description="Work queue of connectors that name none.")
    work_queue_limit: int | None = Field(
        None,
        ge=1,
        description="Most runs at once in that work queue, forms among them, as bootstrap sets it. The controller has "
        "a queue of its own. Unset: as it is in Prefect.",
    )
    split_bytes: int | None = Field(
        None, ge=1024 * 1024, description="Bytes that one run copies of a table without `split`. Unset: all of it."
    )
    code_path: Path = Field(ROOT, description="Directory, on the worker, that holds this code: where its runs start.")
    code_version: str | None = Field(
        None, description="Version of this code, which each load notes. The image sets it to its own."
    )
    data_dir: Path = Field(
        ROOT / ".local",
        description="State of a local installation: embedded database, DuckDB files, working directories of runs.",
    )
    credentials: NameableSecrets = Field(
        NameableSecrets.REGISTERED,
        description="What connectors may name as a secret: `registered`: what /api/v1/credentials has for their "
        "team or for everybody; `open`: also whatever nobody has registered, the rule before there were credentials "
        "(docs/access.md).",
    )
    default_destination: dict[str, Any] | None = Field(
        None,
        description="Destination (JSON) of connectors that name none. "
        "Unset: DuckDB at {CAI_DATA_DIR}/warehouse.duckdb.",
    )
    local_file_roots: Annotated[list[Path], NoDecode] = Field(
        default_factory=list,
        description="Directories, comma separated, that a `files` source and SQLite addresses may read. Unset: no "
        "local files.",
    )
    denied_hosts: Annotated[list[str], NoDecode] = Field(
        default_factory=lambda: list(DENIED_HOSTS),
        description="Hosts, addresses and networks, comma separated, that no source and no destination may be. "
        "Prefect's API and the platform's own database never may. "
        "Unset: link-local addresses and the clouds' metadata services.",
    )
    local_destination_roots: Annotated[list[Path], NoDecode] = Field(
        default_factory=list,
        description="Directories, comma separated, that a connector's DuckDB files and `filesystem` destinations may "
        "be "
        "in, besides CAI_DATA_DIR. CAI_DEFAULT_DESTINATION may be anywhere.",
    )
    mask_key_required: bool = Field(
        False,
        description="Mask with CAI_SECRET_MASK_KEY only: workers that keep no files would each make a key.",
    )
    warm_workers: bool = Field(
        False,
        description="`make run` starts a warm worker, whose loads are forked (docs/architecture.md).",
    )
    run_memory_megabytes: int | None = Field(
        None,
        ge=256,
        description="Most memory (MiB) that a warm worker's run may take beyond what it is forked with; more is "
        "refused. Unset: as much as the worker may have.",
    )
    drain_seconds: float = Field(
        10, ge=0, description="Seconds that a warm worker, told to stop, waits for its runs before it ends them."
    )
    fork_server_max_age_seconds: float = Field(
        3600, ge=1, description="A warm worker's fork server that is older is replaced; its runs go on."
    )
    fork_server_max_megabytes: int = Field(
        600, ge=1, description="A warm worker's fork server that holds more memory (MiB) is replaced; its runs go on."
    )

    poll_interval_seconds: float = Field(10, gt=0, description="Seconds between two polls of the table.")
    audit_interval_seconds: float = Field(
        600, gt=0, description="Seconds between two audits of Prefect. Of over 1,000 deployments one in six lists all."
    )
    apply_concurrency: int = Field(25, ge=1, le=200, description="Most Prefect calls in flight.")
    max_delete_fraction: float = Field(
        0.25,
        ge=0,
        le=1,
        description="When more than this part of a table's rows is gone at the source, none of them is deleted or "
        "marked, and people are told, until a run with allow_mass_delete.",
    )
    max_prune_fraction: float = Field(
        0.25,
        ge=0,
        le=1,
        description="When a cycle would delete more than this part of the deployments, and more than 5, its deletes "
        "are withheld; all else goes on.",
    )
    lease_ttl_seconds: float = Field(30, gt=1, description="Seconds after which a dead leader's lease is free.")
    retry_base_seconds: float = Field(5, gt=0, description="First wait before a failed connector is tried again.")
    retry_max_seconds: float = Field(900, gt=0, description="Longest wait between two tries of a connector.")
    server_backoff_max_seconds: float = Field(
        60, gt=0, description="Longest wait between two probes of a Prefect server that is down."
    )
    controller_max_runtime_seconds: float = Field(
        43_200, gt=0, description="A controller run ends after this time and its successor goes on."
    )
    loads_keep_days: int = Field(
        730,
        ge=1,
        description="Days for which what each run has loaded is kept, table by table, and how each connector stood.",
    )
    follow_deployments: Annotated[list[str], NoDecode] = Field(
        [],
        description="Deployments in Prefect that may be started after a load (`run_policy.then`), separated by commas: "
        "`flow/deployment`, or patterns such as `dbt/*`. Empty: none.",
    )
    owner_blocks: dict[str, str] = Field(
        default_factory=dict,
        description='Where owners of connectors are told of them, as JSON: {"alice": "slack-webhook/alice"}, each a '
        "notification block of Prefect. For connectors without `run_policy.notify`. Unset: nowhere.",
    )
    openlineage_url: str | None = Field(None, pattern="^https?://", description="OpenLineage server told of each load.")
    alert_urls: Annotated[list[SecretStr], NoDecode] = Field(
        default_factory=list, description="Apprise URLs, comma separated, that operations are told through."
    )
    alert_after_seconds: float = Field(
        120, ge=0, description="Prefect may be down this long before operations are told."
    )
    alert_after_failures: int = Field(
        3, ge=1, description="People are told of a connector whose load has failed this often in a row."
    )
    notification_block: str | None = Field(
        None,
        pattern=r"^[a-z0-9-]+/[a-z0-9-]+$",
        description="Prefect block, as type/name, that the automations of bootstrap notify people through. "
        "Unset: no such automations.",
    )
    heartbeat_seconds: float = Field(
        60, ge=2, description="Seconds between two signs of the leading controller; five missing ones start another."
    )
    log_format: LogFormat = Field(
        LogFormat.TEXT, description="Log lines of the controller and the REST API: text or json."
    )
    metrics_port: int = Field(
        0, ge=0, le=65535, description="Port of `python -m flows.controller` for Prometheus, on all addresses. 0: none."
    )

    api_token: Annotated[list[SecretStr], NoDecode] = Field(
        default_factory=list, description="Bearer tokens of the REST API, comma separated. Unset: loopback only."
    )
    public_keys: list[dict[str, Any]] = Field(
        default_factory=list,
        description="Public keys (JSON: a list of JWK, or a JWK Set) that the REST API serves at "
        "/.well-known/jwks.json, as `python -m api.sources.key_pairs` prints them. Unset: none.",
    )

    _split_lists = field_validator(
        "local_file_roots", "local_destination_roots", "denied_hosts", "follow_deployments", "alert_urls", "api_token",
        "trusted_proxies", mode="before",
    )(_split)  # fmt: skip

    @field_validator("public_keys", mode="before")
    @classmethod
    def _of_a_set(cls, value: object) -> object:
        return value["keys"] if isinstance(value, dict) and "keys" in value else value

    @field_validator("public_keys")
    @classmethod
    def _are_public(cls, keys: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for key in keys:
            if not {"kty", "kid"} <= key.keys():
                raise ValueError(
                    "Each key of CAI_PUBLIC_KEYS needs kty and kid: python -m api.sources.key_pairs prints one."
                )
            if key["kty"] not in {"RSA", "EC"} or _PRIVATE_PARTS & key.keys():
                raise ValueError("CAI_PUBLIC_KEYS holds a private or secret key, which must never be served.")
        if len({key["kid"] for key in keys}) < len(keys):
            raise ValueError("Two keys of CAI_PUBLIC_KEYS have one kid: give each its own.")
        return keys

    @field_validator("work_pool", "work_queue")
    @classmethod
    def _of_prefect(cls, value: str) -> str:
        if (why := why_no_pool(value)) is not None:
            raise ValueError(f"The name {why}")
        return value

    @field_validator("code_path", "data_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value if value.is_absolute() else (ROOT / value).resolve()

    @model_validator(mode="after")
    def _retry_order(self) -> Self:
        if self.retry_max_seconds < self.retry_base_seconds:
            raise ValueError("CAI_RETRY_MAX_SECONDS must be at least CAI_RETRY_BASE_SECONDS.")
        return self

    @cached_property
    def destination(self) -> dict[str, Any]:
        """The platform's default destination, as a connector's `destination` has it (docs/sources.md)."""
        return self.default_destination or {"type": "duckdb", "path": str(self.data_dir / "warehouse.duckdb")}

    def resolved_database_url(self) -> str:
        """The database's URL: the setting, else what a running `make run` wrote to ``{data_dir}/env``.

        Returns a ``postgresql://`` URL with its password: never log it.

        Raises:
            MissingDatabaseError: when neither is there.
        """
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        joined = read_env_file(self.data_dir / "env").get("CAI_DATABASE_URL")
        if joined is None:
            raise MissingDatabaseError(
                "CAI_DATABASE_URL is not set and no local stack has run under "
                f"{self.data_dir}: start one with `make run`, or set CAI_DATABASE_URL=postgresql://user:password@host/db."
            )
        return joined


def asks_for_names(settings: Settings) -> bool:
    """Whether the API and the page let in only whom they know: by a token, a sign-in or a proxy."""
    return bool(settings.api_token or settings.oidc_issuer or settings.trusted_user_header)


def read_env_file(path: Path) -> dict[str, str]:
    """The ``KEY=value`` lines of a file; empty when there is no such file."""
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        return {}
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def describe() -> list[tuple[str, str, str]]:
    """Each setting as (variable, default, description), for the documentation and its test."""
    rows = []
    for name, field in Settings.model_fields.items():
        default = field.get_default(call_default_factory=True)
        shown = "" if default is None or default == [] else json.dumps(default, default=str).strip('"')
        rows.append((f"CAI_{name.upper()}", shown.replace(str(ROOT), "."), field.description or ""))
    return rows
