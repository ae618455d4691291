"""Changes of shape by the type that came: a column that changes its type twice is told, and asked about, twice."""

from alembic import op

revision = "0032"
down_revision = "0031"

OLD = "UNIQUE (connector_id, table_name, column_name, kind)"


def upgrade() -> None:
    # By its columns: an adopted database may have given the constraint another name.
    op.execute(
        f"""
        DO $$ DECLARE known name; BEGIN
            FOR known IN SELECT conname FROM pg_constraint WHERE conrelid = 'cai_schema_changes'::regclass
                AND contype = 'u' AND pg_get_constraintdef(oid) = '{OLD}'
            LOOP EXECUTE format('ALTER TABLE cai_schema_changes DROP CONSTRAINT %I', known); END LOOP;
        END $$
        """
    )
    op.execute(
        "CREATE UNIQUE INDEX cai_schema_changes_once ON cai_schema_changes "
        "(connector_id, table_name, column_name, kind, coalesce(type_after, ''))"
    )


def downgrade() -> None:
    op.execute("DROP INDEX cai_schema_changes_once")
    # Of each column and kind the last decision stands.
    op.execute(
        "DELETE FROM cai_schema_changes a USING cai_schema_changes b WHERE a.connector_id = b.connector_id "
        "AND a.table_name = b.table_name AND a.column_name = b.column_name AND a.kind = b.kind AND a.id < b.id"
    )
    op.execute(f"ALTER TABLE cai_schema_changes ADD {OLD}")
