"""The source `sql_database`: tables and views of a relational database. Pure."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from connectors.sources.asking.ssh import Ssh
from connectors.sources.deletes import LandingWithDeletes
from connectors.sources.secret_references import Credential, Name, refused
from connectors.sources.write_rules import (
    AnySource,
    Columns,
    CursorType,
    InitialValue,
    Lag,
    Landing,
    Some,
    TableName,
    distinct,
    refuse_beginning_without_order,
)


class SqlTable(LandingWithDeletes):
    """One table or view of a database."""

    name: Annotated[TableName, Field(description="Its name in the database, and where the rows land.")]
    cursor_column: Annotated[
        Name | None,
        Field(
            description="A column that grows with each change, such as `updated_at`: a run reads the rows at or above "
            "its last value. null: all of them."
        ),
    ] = None
    initial_value: InitialValue = None
    lag: Lag = None
    cursor_type: CursorType = None
    split: Annotated[
        int | None,
        Field(
            ge=2,
            le=64,
            description="How many runs copy it at once where it is loaded as a whole: by a first load, a full refresh "
            "and `replace`. From PostgreSQL 14 into PostgreSQL, where its rows stream. null: as CAI_SPLIT_BYTES says, "
            "else one.",
        ),
    ] = None
    columns: Annotated[Columns, Field(description="Only these, and the key and the cursor. Empty: all columns.")] = ()

    @model_validator(mode="after")
    def _goes_on_from_a_cursor(self) -> Self:
        for name in ("initial_value", "lag", "cursor_type") if self.cursor_column is None else ():
            if getattr(self, name) is not None:
                raise refused("{field} needs a cursor_column, whose newest value a run goes on from.", name)
        refuse_beginning_without_order(self.initial_value, self.cursor_type)
        return self

    @property
    def asked(self) -> tuple[str, ...]:
        """The columns that a load asks for: those that are named, with the cursor; empty for all."""
        return (*self.columns, *([self.cursor_column] if self.cursor_column else [])) if self.columns else ()


class SqlDatabaseSource(AnySource):
    """Tables of a relational database that SQLAlchemy reaches."""

    type: Literal["sql_database"]
    credentials: Annotated[
        Credential,
        Field(
            description="Where the database is, with its login: a secret that holds an address such as "
            "postgresql://user:password@host:5432/name (as SQLAlchemy takes it), or a SqlAlchemyConnector block."
        ),
    ]
    tables: Annotated[Some[SqlTable], Field(description="What is read.")]
    # `schema` is a method of pydantic's BaseModel, so the attribute has another name than the key.
    schema_name: Annotated[
        Name | None, Field(alias="schema", description="Where the tables are. null: the database's default schema.")
    ] = None
    ssh: Ssh = None

    @model_validator(mode="after")
    def _tables_are_distinct(self) -> Self:
        distinct((table.name for table in self.tables), "tables", "name")
        return self

    def asked_for_keys(self, table: SqlTable) -> tuple[str, ...]:
        """The columns that are asked for to compare keys: those alone, unless others say which rows may leave."""
        chosen = self.protect is not None and bool(self.protect.where)
        return table.asked if chosen or not table.primary_key else table.primary_key

    def landings(self) -> dict[str, Landing | None]:
        return {table.name: table for table in self.tables}

    def cursors(self) -> tuple[str, ...]:
        return tuple(table.cursor_column for table in self.tables if table.cursor_column)
