"""Texts that tasks name by URL, once fetched."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "remote_texts",
        sa.Column("project_id", sa.Integer(), sa.ForeignKey("projects.id"), primary_key=True),
        sa.Column("address", sa.String(), primary_key=True),
        sa.Column("text", sa.String()),
        sa.Column("problem", sa.String()),
        sa.Column("fetched_at", sa.DateTime(), nullable=False),
        if_not_exists=True,  # that release made it in older databases too
    )
