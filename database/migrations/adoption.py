"""Looking at a back end's table before it is adopted: what stands in the way is said before anything is changed.

PostgreSQL does not change the type of a column that a view, a rule, a policy, a generated column, a trigger or a
function's body names. Where our code can live with the type as it is, the column is kept; where it cannot, the objects
are named, with the way out. What a cast refuses is said without the value.
"""

import sqlalchemy as sa
from alembic.util import CommandError
from sqlalchemy.exc import DBAPIError

STANDARD = {"timestamptz": "timestamp with time zone"}

AS_GOOD = {
    "text": {"character varying"},
    "bigint": {"integer", "smallint"},
}
"""Types with which the code works as well: a varchar keeps its length, an integer its range."""

_IN_THE_WAY = sa.text("""
    SELECT a.attname AS column, pg_describe_object(d.classid, d.objid, d.objsubid) AS object
    FROM pg_depend d
    JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
    LEFT JOIN pg_attrdef f ON d.classid = 'pg_attrdef'::regclass AND f.oid = d.objid
    WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = 'cai_connectors'::regclass
        AND (d.classid IN ('pg_rewrite'::regclass, 'pg_trigger'::regclass, 'pg_policy'::regclass, 'pg_proc'::regclass,
                           'pg_publication_rel'::regclass)
             OR f.adnum IS NOT NULL AND f.adnum <> a.attnum)
    GROUP BY 1, 2 ORDER BY 1, 2
""")
"""Every object that keeps a column's type from being changed, by column."""


def refuse_what_is_no_table(connection: sa.Connection) -> None:
    """Return when `cai_connectors` is a plain table that may be altered here.

    Raises:
        CommandError: otherwise; nothing was changed.
    """
    found = connection.execute(
        sa.text(
            "SELECT relkind::text AS kind, pg_get_userbyid(relowner) AS owner, "
            "pg_has_role(relowner, 'USAGE') AS ours FROM pg_class WHERE oid = to_regclass('cai_connectors')"
        )
    ).one()
    kinds = {"v": "a view", "m": "a materialized view", "f": "a foreign table", "p": "a partitioned table"}
    if found.kind in kinds:
        raise CommandError(
            f"cai_connectors is {kinds[found.kind]}, and connectors need a plain table, with a number and a name that "
            "are unique. Nothing was changed: give it another name, or make it a table."
        )
    if not found.ours:
        raise CommandError(
            f"cai_connectors belongs to the role {found.owner}, and only its owner may change it. Nothing was changed: "
            "run the migrations as that role, or make this one a member of it."
        )


def generated(connection: sa.Connection) -> set[str]:
    """The columns of `cai_connectors` that the database computes."""
    query = "SELECT attname FROM pg_attribute WHERE attrelid = 'cai_connectors'::regclass AND attgenerated <> ''"
    return set(connection.scalars(sa.text(query)))


def kept_types(connection: sa.Connection, existing: dict[str, str], wanted: dict[str, str]) -> set[str]:
    """The columns whose type stays as it is, because other objects name them and the code can live with it.

    Args:
        connection: to the database.
        existing: the type of each column as it stands.
        wanted: the type of each column as the code has it.

    Raises:
        CommandError: when an object names a column whose type must change, or the database computes one that people
            write; nothing was changed.
    """
    if computed := sorted(generated(connection) & wanted.keys()):
        raise CommandError(
            f"The database computes cai_connectors.{', cai_connectors.'.join(computed)}, which connectors are written "
            "to. Nothing was changed: make plain columns of them (ALTER COLUMN ... DROP EXPRESSION)."
        )
    in_the_way: dict[str, list[str]] = {}
    for column, described in connection.execute(_IN_THE_WAY):
        in_the_way.setdefault(column, []).append(described)
    kept, refused = set[str](), []
    for column, kind in wanted.items():
        stands = existing.get(column)
        if stands is None or stands == STANDARD.get(kind, kind) or column not in in_the_way:
            continue
        if stands in AS_GOOD.get(kind, ()):
            kept.add(column)
        else:
            refused.append(f"{column} ({stands}, {kind} is needed) stands in {', '.join(in_the_way[column])}")
    if refused:
        raise CommandError(
            f"Columns of cai_connectors need another type, and other objects name them: {'; '.join(refused)}. Nothing "
            "was changed: drop these objects, run the migrations, and make them again."
        )
    return kept


def convert(connection: sa.Connection, name: str, kind: str, expression: str) -> None:
    """Change a column's type, or say which rows keep it from being changed, without their values.

    Raises:
        CommandError: when a value cannot be had in the new type; all migrations are one transaction, so nothing was
            changed then.
    """
    try:
        with connection.begin_nested():
            connection.execute(sa.text(f"ALTER TABLE cai_connectors ALTER COLUMN {name} DROP DEFAULT"))
            statement = f"ALTER TABLE cai_connectors ALTER COLUMN {name} TYPE {kind} USING {expression}"
            connection.exec_driver_sql(statement)
    except DBAPIError as error:
        if (getattr(error.orig, "sqlstate", None) or "")[:2] != "22":
            raise
        raise CommandError(
            f"cai_connectors.{name} must be {kind}, and the connectors {_unconvertible(connection, name, expression)} "
            "hold something there that is none. Nothing was changed: correct these rows, and run the migrations again."
        ) from None


def _unconvertible(connection: sa.Connection, name: str, expression: str) -> str:
    """The ids of the first rows whose value cannot be converted."""
    bad: list[int] = []
    query = sa.text(f"SELECT id FROM cai_connectors WHERE {name} IS NOT NULL ORDER BY id")  # noqa: S608  # our own names
    for number in connection.scalars(query).all():
        try:
            with connection.begin_nested():
                one = f"SELECT {expression} FROM cai_connectors WHERE id = {number}"  # noqa: S608  # our own names
                connection.exec_driver_sql(one)
        except DBAPIError:
            bad.append(number)
        if len(bad) == 5:
            break
    return ", ".join(map(str, bad))
