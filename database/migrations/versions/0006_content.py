"""A stamp of each row's content, by which a change that moved no counter is found.

Triggers can be off (a restore, a replica's apply, `session_replication_role`), and whoever has them off may write
`generation` itself. The stamp says what the content was when the counter last moved; where what stands is something
else, the ETag says so, and nobody overwrites what he has not seen.
"""

from alembic import op

revision = "0006"
down_revision = "0005"

CONTENT = (
    "generation", "name", "description", "schedule", "timezone", "is_active", "source", "destination", "dataset_name",
    "run_policy", "work_pool_name", "work_queue_name",
)  # fmt: skip


def upgrade() -> None:
    op.execute("ALTER TABLE cai_connectors ADD COLUMN cai_stamp text")
    columns = ", ".join(f"c.{name}" for name in CONTENT)
    op.execute(
        f"""
        CREATE FUNCTION cai_connectors_content(c cai_connectors) RETURNS text LANGUAGE sql STABLE AS $$
            SELECT to_hex(hashtextextended(jsonb_build_array({columns})::text, 0))
        $$
        """
    )
    # Before its trigger is there: that one would keep what stands.
    op.execute("UPDATE cai_connectors SET cai_stamp = cai_connectors_content(cai_connectors)")
    op.execute(
        """
        CREATE FUNCTION cai_connectors_stamped() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP = 'INSERT' THEN
                NEW.cai_stamp := cai_connectors_content(NEW);
            ELSIF NEW.generation <> OLD.generation THEN
                NEW.cai_stamp := cai_connectors_content(NEW);
            ELSE
                NEW.cai_stamp := OLD.cai_stamp;
            END IF;
            RETURN NEW;
        END $$
        """
    )
    # By its name it comes after `cai_connectors_stamp`, which moves the generation.
    op.execute(
        "CREATE TRIGGER cai_connectors_stamped BEFORE INSERT OR UPDATE ON cai_connectors "
        "FOR EACH ROW EXECUTE FUNCTION cai_connectors_stamped()"
    )


def downgrade() -> None:
    op.execute("DROP TRIGGER cai_connectors_stamped ON cai_connectors")
    op.execute("DROP FUNCTION cai_connectors_stamped()")
    op.execute("DROP FUNCTION cai_connectors_content(cai_connectors)")
    op.execute("ALTER TABLE cai_connectors DROP COLUMN cai_stamp")
