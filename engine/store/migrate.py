"""Brings the database to the newest schema, by Alembic, once at the start.

Alembic and SQLAlchemy are imported only when there is something to migrate: a start that finds the newest revision
already in place costs one query.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import Broken

if TYPE_CHECKING:
    from alembic.config import Config

_FOLDER = Path(__file__).resolve().parent / "migrations"


def newest_revision() -> str:
    """The revision that this program wants: migrations are named NNNN_what.py, in order."""
    return max(path.name.split("_")[0] for path in (_FOLDER / "versions").glob("[0-9]*.py"))


def migrate(path: Path) -> None:
    """Blocking. Creates the database at `path` where there is none, and migrates it. Raises Broken("database_newer")
    where a newer Madang has written it, and Broken("bad_setting") where it is no database."""
    path.parent.mkdir(parents=True, exist_ok=True)
    found = _prepare(path)
    newest = newest_revision()
    if found == newest:
        return
    if found is not None and found > newest:
        raise Broken("database_newer", found=found)
    from alembic import command  # noqa: PLC0415 - see above

    command.upgrade(alembic_config(path), "head")


def alembic_config(path: Path) -> Config:
    """What Alembic's commands want, for the database at `path`."""
    from alembic.config import Config  # noqa: PLC0415 - see above

    config = Config(attributes={"database": path})
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    return config


def _prepare(path: Path) -> str | None:
    """Makes the file private and WAL, and returns its revision, None for an empty database."""
    path.touch(mode=0o600)
    connection = sqlite3.connect(path)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        table = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone()
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone() if table else None
        return str(row[0]) if row else None
    except sqlite3.DatabaseError as error:
        raise Broken("bad_setting", detail=f"PORTAL_DB_PATH: {path}: {error}") from error
    finally:
        connection.close()
