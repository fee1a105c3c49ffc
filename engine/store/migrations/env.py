"""Alembic's own entry: runs the migrations on the database that `engine.store.migrate` names.

Each migration is one transaction, its DDL included, so that a death in the middle of one leaves nothing half made. For
that Python's sqlite3 has to be kept from committing on its own before DDL.
"""

from typing import Any

from alembic import context
from sqlalchemy import URL, Connection, create_engine, event

engine = create_engine(URL.create("sqlite", database=str(context.config.attributes["database"])))


@event.listens_for(engine, "connect")
def _leave_transactions_to_us(connection: Any, _: object) -> None:
    connection.isolation_level = None


@event.listens_for(engine, "begin")
def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


with engine.connect() as connection:
    context.configure(
        connection=connection, transaction_per_migration=True, transactional_ddl=True, render_as_batch=True
    )
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
