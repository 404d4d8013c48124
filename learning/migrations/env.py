"""What Alembic runs: the revisions, in the transaction that `bring_up` has begun."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
with context.begin_transaction():
    context.run_migrations()
