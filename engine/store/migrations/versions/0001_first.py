"""The first schema: accounts, apps, routes, operations with their events, audit and conversations.

Times are milliseconds since 1970 (BIGINT). Invariants are indexes: a name once per owner, a slot once on the box, one
running operation per app, one queued operation per app and kind.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def _text(name: str, *, null: bool = False, **more: object) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=null, **more)  # type: ignore[arg-type]


def _time(name: str, *, null: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=null)


def _number(name: str, default: int = 0) -> sa.Column[int]:
    return sa.Column(name, sa.Integer, nullable=False, server_default=str(default))


def upgrade() -> None:
    op.create_table("installation", _text("key", primary_key=True), _text("value"))
    _accounts()
    _apps()
    _operations()
    _chats()


def _accounts() -> None:
    op.create_table(
        "accounts",
        _text("id", primary_key=True),
        _text("userid", unique=True),
        _text("email", null=True, unique=True),
        _text("password_hash", null=True),
        _text("role"),
        _number("must_change_password"),
        _number("approved", 1),
        _number("token_version"),
        sa.Column("max_apps", sa.Integer),
        _text("locale", null=True),
        _time("created_at"),
    )
    op.create_table(
        "sessions",
        _text("token_hash", primary_key=True),
        sa.Column("account_id", sa.Text, sa.ForeignKey("accounts.id", ondelete="CASCADE"), nullable=False),
        _time("created_at"),
        _time("expires_at"),
    )
    op.create_table(
        "audit",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        _time("at"),
        _text("account_id", null=True),
        _text("via"),
        _text("action"),
        _text("target"),
        _text("outcome"),
    )


def _apps() -> None:
    op.create_table(
        "apps",
        _text("id", primary_key=True),
        sa.Column("owner_id", sa.Text, sa.ForeignKey("accounts.id"), nullable=False),
        _text("userid"),
        _text("name"),
        _text("kind"),
        _text("template"),
        _text("title"),
        _text("phase"),
        sa.Column("slot", sa.Integer, nullable=False, unique=True),
        _text("settings"),
        _text("owner_key", null=True),
        _text("failure", null=True),
        _time("created_at"),
        _time("changed_at"),
        _time("trashed_at", null=True),
        sa.UniqueConstraint("userid", "name"),
    )
    op.create_index("apps_owner", "apps", ["owner_id"])
    op.create_table(
        "routes",
        sa.Column("app_id", sa.Text, sa.ForeignKey("apps.id", ondelete="CASCADE"), primary_key=True),
        _text("label", unique=True),
        _text("address"),
    )


def _operations() -> None:
    op.create_table(
        "operations",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
        _text("id", unique=True),
        _text("kind"),
        _text("app_id"),
        _text("owner_id"),
        _text("target"),
        _text("via"),
        _text("state"),
        _text("step", null=True),
        _text("journal"),
        _text("payload"),
        _number("attempt"),
        _number("tries"),
        _number("aborting"),
        _text("lease_owner", null=True),
        _time("lease_until"),
        _time("not_before"),
        _time("created_at"),
        _time("started_at", null=True),
        _time("finished_at", null=True),
        _text("error_code", null=True),
        _text("error_params"),
    )
    running, queued = sa.text("state = 'running'"), sa.text("state = 'queued'")
    op.create_index(
        "one_running", "operations", ["app_id"], unique=True, sqlite_where=running, postgresql_where=running
    )
    op.create_index(
        "one_queued",
        "operations",
        ["app_id", "kind"],
        unique=True,
        sqlite_where=queued,
        postgresql_where=queued,
    )
    active = sa.text("state IN ('queued', 'running')")
    op.create_index("operations_active", "operations", ["seq"], sqlite_where=active, postgresql_where=active)
    op.create_index("operations_app", "operations", ["app_id", "seq"])
    op.create_table(
        "events",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        _text("operation_id"),
        _text("app_id"),
        _time("at"),
        _text("kind"),
        _text("data"),
    )
    op.create_index("events_operation", "events", ["operation_id", "id"])


def _chats() -> None:
    op.create_table(
        "chats",
        _text("id", primary_key=True),
        _text("surface"),
        _text("address"),
        sa.Column("account_id", sa.Text, sa.ForeignKey("accounts.id", ondelete="SET NULL")),
        _text("locale"),
        _text("state"),
        _time("created_at"),
        _time("changed_at"),
        sa.UniqueConstraint("surface", "address"),
    )
    op.create_table(
        "chat_watches",
        sa.Column("chat_id", sa.Text, sa.ForeignKey("chats.id", ondelete="CASCADE"), primary_key=True),
        _text("operation_id", primary_key=True),
        _text("message_ref", null=True),
    )
    op.create_table(
        "chat_screens",
        _text("id", primary_key=True),
        sa.Column("chat_id", sa.Text, sa.ForeignKey("chats.id", ondelete="CASCADE"), nullable=False),
        _text("actions"),
        _time("created_at"),
    )
    op.create_index("chat_screens_chat", "chat_screens", ["chat_id", "created_at"])
    op.create_table(
        "seen_updates",
        _text("surface", primary_key=True),
        _text("update_id", primary_key=True),
        _time("at"),
    )


def downgrade() -> None:
    for table in (
        "seen_updates", "chat_screens", "chat_watches", "chats", "events", "operations", "routes", "apps", "audit", "sessions",
        "accounts", "installation",
    ):  # fmt: skip
        op.drop_table(table)
