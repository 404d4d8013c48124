"""What a project is called, whether people have paused it, and suspected label errors."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("projects", sa.Column("title", sa.String()))
    op.add_column("projects", sa.Column("paused", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("projects", sa.Column("suspects", sa.JSON()))
