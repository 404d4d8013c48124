"""Signs of life of trainers, which may run on several machines."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "trainers",
        sa.Column("name", sa.String(), primary_key=True),
        sa.Column("seen_at", sa.DateTime(), nullable=False),
        if_not_exists=True,
    )
