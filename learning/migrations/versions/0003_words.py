"""The length of each text that a round has read, for budgets in words."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

RANKS_AGAIN = """
UPDATE projects SET due = 'rank', due_reason = 'the lengths of its texts are to be counted',
    due_model = (SELECT model_round_id FROM rounds WHERE rounds.id = projects.current_round_id)
WHERE due IS NULL AND current_round_id IS NOT NULL
"""
"""Earlier rounds have not counted words: the next one does."""


def upgrade() -> None:
    op.add_column("predictions", sa.Column("words", sa.Integer()))
    op.execute("UPDATE predictions SET words = 0")
    with op.batch_alter_table("predictions") as predictions:
        predictions.alter_column("words", existing_type=sa.Integer(), nullable=False)
    op.execute(RANKS_AGAIN)
