"""Ends of loads are heard: whoever listens starts what follows them at once, and looks no more than now and then."""

from alembic import op

revision = "0031"
down_revision = "0030"


def upgrade() -> None:
    op.execute(
        """
        CREATE FUNCTION cai_follow_ups_notify() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM pg_notify('cai_follow_ups', '');
            RETURN NULL;
        END $$
        """
    )
    # By row: a statement that marks or notes nothing has nothing to say.
    op.execute(
        "CREATE TRIGGER cai_loads_notify AFTER UPDATE OF to_follow ON cai_loads FOR EACH ROW WHEN (NEW.to_follow) "
        "EXECUTE FUNCTION cai_follow_ups_notify()"
    )
    op.execute(
        "CREATE TRIGGER cai_follow_ups_notify AFTER INSERT ON cai_follow_ups FOR EACH ROW "
        "EXECUTE FUNCTION cai_follow_ups_notify()"
    )


def downgrade() -> None:
    op.execute("DROP TRIGGER cai_loads_notify ON cai_loads")
    op.execute("DROP TRIGGER cai_follow_ups_notify ON cai_follow_ups")
    op.execute("DROP FUNCTION cai_follow_ups_notify()")
