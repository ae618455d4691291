"""The tables, as SQLAlchemy Core sees them: what users ask for, how it stands, and what controllers need of each other.

`cai_connectors` belongs to the people and back ends that write it, `cai_loads`, `cai_load_tables` and
`cai_exports` to the runs, all others to the controller. The triggers, constraints and the adoption of a back end's
older table live in the migrations.
"""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, JSONB, TIMESTAMP, UUID

metadata = sa.MetaData()

connectors = sa.Table(
    "cai_connectors",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("description", sa.Text),
    sa.Column("schedule", sa.Text),
    sa.Column("timezone", sa.Text, nullable=False, server_default="UTC"),
    sa.Column("is_active", sa.Boolean, nullable=False, server_default=sa.true()),
    sa.Column("source", JSONB(none_as_null=True), nullable=False),
    sa.Column("destination", JSONB(none_as_null=True)),
    sa.Column("dataset_name", sa.Text),
    sa.Column("run_policy", JSONB(none_as_null=True), nullable=False, server_default=sa.text("'{}'::jsonb")),
    sa.Column("work_pool_name", sa.Text),
    sa.Column("work_queue_name", sa.Text),
    sa.Column("team", sa.Text),
    sa.Column("owner", sa.Text),
    sa.Column("tags", ARRAY(sa.Text), nullable=False, server_default=sa.text("'{}'::text[]")),
    sa.Column("prefect_deployment_id", UUID(as_uuid=True)),
    sa.Column("created_at", TIMESTAMP(timezone=True), nullable=False, server_default=sa.func.now()),
    sa.Column("updated_at", TIMESTAMP(timezone=True), nullable=False, server_default=sa.func.now()),
    sa.Column("generation", sa.BigInteger, nullable=False, server_default=sa.text("1")),
)

content = sa.literal_column("cai_connectors_content(cai_connectors)", sa.Text).label("content")
"""A hash of what stands in a connector's row, its generation included; in statements from that table alone."""

stamped = sa.literal_column("cai_connectors.cai_stamp", sa.Text).label("stamped")
"""The same as its trigger last wrote it."""

status = sa.Table(
    "cai_connector_status",
    metadata,
    # No foreign key: the row outlives its connector until Prefect has confirmed the delete.
    sa.Column("connector_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("deployment_id", UUID(as_uuid=True)),
    sa.Column("phase", sa.Text, nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("message", sa.Text),
    sa.Column("spec_version", sa.Text),
    sa.Column("observed_generation", sa.BigInteger),
    sa.Column("attempts", sa.Integer, nullable=False, server_default=sa.text("0")),
    sa.Column("next_attempt_at", TIMESTAMP(timezone=True)),
    sa.Column("last_synced_at", TIMESTAMP(timezone=True)),
    sa.Column("last_transition_at", TIMESTAMP(timezone=True), nullable=False, server_default=sa.func.now()),
)

events = sa.Table(
    "cai_connector_events",
    metadata,
    # Phases, and what people were told of a connector's being late: written by triggers (migration 0014).
    sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
    sa.Column("connector_id", sa.BigInteger, nullable=False),
    sa.Column("at", TIMESTAMP(timezone=True), nullable=False, server_default=sa.func.clock_timestamp()),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("message", sa.Text),
    sa.Column("since", TIMESTAMP(timezone=True)),
    sa.Column("alerted", sa.Boolean, nullable=False, server_default=sa.false()),
)

loads = sa.Table(
    "cai_connector_loads",
    metadata,
    # A view: of each connector the last row of `cai_loads`.
    sa.Column("connector_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("generation", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    sa.Column("run_id", UUID(as_uuid=True)),
    sa.Column("outcome", sa.Text),
    sa.Column("message", sa.Text),
    sa.Column("rows", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    sa.Column("started_at", TIMESTAMP(timezone=True)),
    sa.Column("ended_at", TIMESTAMP(timezone=True)),
    sa.Column("last_success_at", TIMESTAMP(timezone=True)),
    sa.Column("failures", sa.Integer, nullable=False, server_default=sa.text("0")),
    sa.Column("configuration_failures", sa.Integer, nullable=False, server_default=sa.text("0")),
    sa.Column("loads_completed", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    sa.Column("loads_failed", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    sa.Column("rows_loaded", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    sa.Column("rows_rejected", sa.BigInteger, nullable=False, server_default=sa.text("0")),
)

load_runs = sa.Table(
    "cai_loads",
    metadata,
    # The load history, written by the runs: a row for each that tried to load, of a part of a connector too.
    sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
    sa.Column("connector_id", sa.BigInteger, nullable=False),
    sa.Column("generation", sa.BigInteger, nullable=False),
    sa.Column("run_id", UUID(as_uuid=True)),
    sa.Column("actor", sa.Text),
    sa.Column("started_at", TIMESTAMP(timezone=True), nullable=False),
    sa.Column("ended_at", TIMESTAMP(timezone=True)),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("kind", sa.Text),
    sa.Column("message", sa.Text),
    sa.Column("code_version", sa.Text),
    sa.Column("options", JSONB(none_as_null=True), nullable=False, server_default=sa.text("'{}'::jsonb")),
    sa.Column("destination", sa.Text),
    sa.Column("dataset_name", sa.Text),
    sa.Column("rows", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    sa.Column("bytes", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    sa.Column("seconds", JSONB(none_as_null=True), nullable=False, server_default=sa.text("'{}'::jsonb")),
    sa.Column("to_follow", sa.Boolean),
    # Of a connector's last load that says how it does: true, and then what is known of all of them.
    sa.Column("is_last", sa.Boolean),
    sa.Column("said_before", sa.Text),
    sa.Column("last_success_at", TIMESTAMP(timezone=True)),
    sa.Column("failures", sa.Integer, nullable=False, server_default=sa.text("0")),
    sa.Column("configuration_failures", sa.Integer, nullable=False, server_default=sa.text("0")),
    sa.Column("loads_completed", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    sa.Column("loads_failed", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    sa.Column("rows_loaded", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    sa.Column("rows_rejected", sa.BigInteger, nullable=False, server_default=sa.text("0")),
)

load_tables = sa.Table(
    "cai_load_tables",
    metadata,
    # What each of those runs did to each table.
    sa.Column("load_id", sa.BigInteger, sa.ForeignKey(load_runs.c.id, ondelete="CASCADE"), primary_key=True),
    sa.Column("table_name", sa.Text, primary_key=True),
    sa.Column("read", sa.BigInteger, nullable=False),
    sa.Column("written", sa.BigInteger, nullable=False),
    sa.Column("rejected", sa.BigInteger, nullable=False),
    sa.Column("repeated", sa.BigInteger, nullable=False),
    sa.Column("new", sa.BigInteger),
    sa.Column("changed", sa.BigInteger),
    sa.Column("deleted", sa.BigInteger),
    sa.Column("rows_after", sa.BigInteger),
    sa.Column("cursor_from", sa.Text),
    sa.Column("cursor_to", sa.Text),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("seconds", JSONB(none_as_null=True), nullable=False),
    sa.Column("schema_hash", sa.Text),
)

withheld_deletes = sa.Table(
    "cai_withheld_deletes",
    metadata,
    # Written by the runs: rows that are gone at the source and stay, for they are too many to be deleted unasked.
    sa.Column("connector_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("table_name", sa.Text, primary_key=True),
    sa.Column("gone", sa.BigInteger, nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("since", TIMESTAMP(timezone=True), nullable=False, server_default=sa.func.now()),
)

held_loads = sa.Table(
    "cai_held_loads",
    metadata,
    # The runs', and people's, who decide: a table whose checks failed, so that its connector's load waits for somebody.
    sa.Column("id", sa.BigInteger, sa.Identity(), nullable=False, unique=True),
    sa.Column("connector_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("table_name", sa.Text, primary_key=True),
    sa.Column("marks", sa.Text, nullable=False),
    sa.Column("sentence", sa.Text, nullable=False),
    sa.Column("run_id", UUID(as_uuid=True)),
    sa.Column("held_at", TIMESTAMP(timezone=True), nullable=False, server_default=sa.func.now()),
    sa.Column("state", sa.Text, nullable=False, server_default="waiting"),
    sa.Column("decided_by", sa.Text),
    sa.Column("decided_at", TIMESTAMP(timezone=True)),
)

comparisons = sa.Table(
    "cai_comparisons",
    metadata,
    # Written by the runs: how a table compared with its source when it was last compared.
    sa.Column("connector_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("table_name", sa.Text, primary_key=True),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("at_source", sa.BigInteger, nullable=False),
    sa.Column("in_destination", sa.BigInteger, nullable=False),
    sa.Column("missing", sa.BigInteger),
    sa.Column("extra", sa.BigInteger),
    sa.Column("different", sa.BigInteger),
    sa.Column("ranges", JSONB(none_as_null=True), nullable=False, server_default=sa.text("'[]'::jsonb")),
    sa.Column("differences", JSONB(none_as_null=True), nullable=False, server_default=sa.text("'[]'::jsonb")),
    sa.Column("compared_at", TIMESTAMP(timezone=True), nullable=False, server_default=sa.func.now()),
    sa.Column("run_id", UUID(as_uuid=True)),
)

exports = sa.Table(
    "cai_exports",
    metadata,
    # Written by the runs: the export that a server makes for a connector, at most one each.
    sa.Column("connector_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("id", UUID(as_uuid=True), nullable=False),
    sa.Column("asked", JSONB(none_as_null=True), nullable=False),
    sa.Column("options", JSONB(none_as_null=True), nullable=False, server_default=sa.text("'{}'::jsonb")),
    sa.Column("address", sa.Text),
    sa.Column("sent_at", TIMESTAMP(timezone=True)),
    sa.Column("look_at", TIMESTAMP(timezone=True)),
    sa.Column("started_at", TIMESTAMP(timezone=True), nullable=False, server_default=sa.func.now()),
    sa.Column("left_by", JSONB(none_as_null=True)),
    sa.Column("left_at", TIMESTAMP(timezone=True)),
)

schema_changes = sa.Table(
    "cai_schema_changes",
    metadata,
    # The runs', and people's, who decide: columns that are not what they were at the source.
    sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
    sa.Column("connector_id", sa.BigInteger, nullable=False),
    sa.Column("table_name", sa.Text, nullable=False),
    sa.Column("column_name", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("type_before", sa.Text),
    sa.Column("type_after", sa.Text),
    sa.Column("was", sa.Text),
    sa.Column("run_id", UUID(as_uuid=True)),
    sa.Column("first_seen_at", TIMESTAMP(timezone=True), nullable=False, server_default=sa.func.now()),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("decided_by", sa.Text),
    sa.Column("decided_at", TIMESTAMP(timezone=True)),
)

freshness = sa.Table(
    "cai_connector_freshness",
    metadata,
    # The controller's. No foreign key: what was told of a deleted connector must still be ended.
    sa.Column("connector_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("schedule", sa.Text),
    sa.Column("timezone", sa.Text),
    sa.Column("promised_at", TIMESTAMP(timezone=True), nullable=False),
    sa.Column("told", sa.Text),
    sa.Column("late_since", TIMESTAMP(timezone=True)),
    sa.Column("alerted", sa.Boolean, nullable=False, server_default=sa.false()),
)

lease = sa.Table(
    "cai_controller_lease",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("holder", sa.Text),
    sa.Column("token", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    sa.Column("expires_at", TIMESTAMP(timezone=True)),
)

database = sa.Table(
    "cai_database",
    metadata,
    # One row: the identity of this database, which the controller compares with what Prefect remembers of it.
    sa.Column("id", UUID(as_uuid=True), primary_key=True, server_default=sa.func.gen_random_uuid()),
)

cycle_requests = sa.Table(
    "cai_cycle_requests",
    metadata,
    # A controller that finds another leading asks it for a cycle here and reads the report back.
    sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
    sa.Column("allow_mass_prune", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("requested_at", TIMESTAMP(timezone=True), nullable=False, server_default=sa.func.now()),
    sa.Column("report", JSONB(none_as_null=True)),
)

alerts = sa.Table(
    "cai_alerts",
    metadata,
    # What operations were told of. A row stands until they were told that it is over, by whoever leads then.
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("since", TIMESTAMP(timezone=True), nullable=False, server_default=sa.func.now()),
    sa.Column("sentence", sa.Text, nullable=False),
)

audit = sa.Table(
    "cai_audit",
    metadata,
    # Append-only. A trigger draws the id and the time, and chains the digest (migration 0007).
    sa.Column("id", sa.BigInteger, primary_key=True, server_default=sa.text("nextval('cai_audit_id')")),
    sa.Column("at", TIMESTAMP(timezone=True), nullable=False, server_default=sa.func.clock_timestamp()),
    sa.Column("connector_id", sa.BigInteger),
    sa.Column("connector_name", sa.Text),
    sa.Column("generation", sa.BigInteger),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("via", sa.Text, nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("request_id", sa.Text),
    sa.Column("before", JSONB(none_as_null=True)),
    sa.Column("after", JSONB(none_as_null=True)),
    sa.Column("previous_id", sa.BigInteger),
    sa.Column("previous", sa.Text),
    sa.Column("digest", sa.Text, nullable=False, server_default=""),
)

tokens = sa.Table(
    "cai_tokens",
    metadata,
    # The API's tokens, without the tokens themselves: a digest finds the row, and nothing makes a token of it.
    sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("digest", BYTEA, nullable=False, unique=True),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("team", sa.Text),
    sa.Column("expires_at", TIMESTAMP(timezone=True)),
    sa.Column("last_used_at", TIMESTAMP(timezone=True)),
    sa.Column("created_at", TIMESTAMP(timezone=True), nullable=False, server_default=sa.func.now()),
    sa.Column("created_by", sa.Text, nullable=False),
)

credentials = sa.Table(
    "cai_credentials",
    metadata,
    # What connectors may name as a secret: where it is, whose, and to which hosts it may be sent. Never its value.
    sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("team", sa.Text),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("reference", sa.Text, nullable=False),
    sa.Column("hosts", ARRAY(sa.Text), nullable=False, server_default=sa.text("'{}'::text[]")),
    sa.Column("created_at", TIMESTAMP(timezone=True), nullable=False, server_default=sa.func.now()),
    sa.Column("created_by", sa.Text, nullable=False),
)

protections = sa.Table(
    "cai_protections",
    metadata,
    # Profiles of what may land of rows, which connectors name. No value of any row.
    sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("team", sa.Text),
    sa.Column("rules", JSONB(none_as_null=True), nullable=False),
    sa.Column("changed_at", TIMESTAMP(timezone=True), nullable=False, server_default=sa.func.now()),
    sa.Column("changed_by", sa.Text, nullable=False),
)

source_limits = sa.Table(
    "cai_source_limits",
    metadata,
    # How many loads may ask a host or use a login at once, and when none may.
    sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("hosts", ARRAY(sa.Text), nullable=False, server_default=sa.text("'{}'::text[]")),
    sa.Column("credentials", JSONB(none_as_null=True), nullable=False, server_default=sa.text("'[]'::jsonb")),
    sa.Column("loads", sa.Integer),
    sa.Column("quiet_hours", JSONB(none_as_null=True), nullable=False, server_default=sa.text("'[]'::jsonb")),
    sa.Column("changed_at", TIMESTAMP(timezone=True), nullable=False, server_default=sa.func.now()),
    sa.Column("changed_by", sa.Text, nullable=False),
)

source_waits = sa.Table(
    "cai_source_waits",
    metadata,
    # Runs that wait for a limit: of which connector, what it was asked for, and when another one looks.
    sa.Column("connector_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("asked", sa.Text, primary_key=True),
    sa.Column("limit_name", sa.Text, nullable=False),
    sa.Column("look_at", TIMESTAMP(timezone=True), nullable=False),
)

sessions = sa.Table(
    "cai_sessions",
    metadata,
    # Who is logged in at the page. The cookie holds a random text, and the row that text's digest.
    sa.Column("digest", BYTEA, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("grants", JSONB(none_as_null=True), nullable=False),
    sa.Column("csrf", sa.Text, nullable=False),
    sa.Column("created_at", TIMESTAMP(timezone=True), nullable=False, server_default=sa.func.now()),
    sa.Column("expires_at", TIMESTAMP(timezone=True), nullable=False),
    # It goes with the token that began it; a token of CAI_API_TOKEN has no row, so that its session has a proof of it.
    sa.Column("token_id", sa.BigInteger, sa.ForeignKey(tokens.c.id, ondelete="CASCADE")),
    sa.Column("proof", BYTEA),
    # A link that begins one session, and is no session itself.
    sa.Column("is_link", sa.Boolean, nullable=False, server_default=sa.false()),
)

probes = sa.Table(
    "cai_probes",
    metadata,
    # What the API asks of a worker about a source that is not saved, until it has read the answer.
    sa.Column("id", UUID(as_uuid=True), primary_key=True, server_default=sa.func.gen_random_uuid()),
    sa.Column("asked_at", TIMESTAMP(timezone=True), nullable=False, server_default=sa.func.now()),
    sa.Column("request", sa.Text, nullable=False),
    sa.Column("taken_at", TIMESTAMP(timezone=True)),
    sa.Column("answer", sa.Text),
)
