"""When people last did something in a project, and which versions Label Studio may still hold."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("projects", sa.Column("touched_at", sa.DateTime()))
    op.execute("UPDATE projects SET touched_at = created_at")
    with op.batch_alter_table("projects") as projects:
        projects.alter_column("touched_at", existing_type=sa.DateTime(), nullable=False)
    op.add_column("rounds", sa.Column("delivered", sa.Boolean()))
    # Whatever was or may have been published is looked for there, and taken back: too much does no harm.
    tried = sa.table("rounds", sa.column("state"), sa.column("delivered", sa.Boolean))
    published = tried.c.state.in_(["publishing", "done", "superseded"])
    op.execute(tried.update().values(delivered=published))
    with op.batch_alter_table("rounds") as rounds:
        rounds.alter_column("delivered", existing_type=sa.Boolean(), nullable=False)
