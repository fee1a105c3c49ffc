"""Alembic's own entry: runs the migrations on the database that `engine.store.migrate` names."""

from alembic import context
from sqlalchemy import create_engine

engine = create_engine(context.config.get_main_option("sqlalchemy.url") or "")
with engine.connect() as connection:
    context.configure(connection=connection, transaction_per_migration=True, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
