"""Accounts, sessions and the audit log."""

from __future__ import annotations

from datetime import datetime

from engine.domain import Account, Role
from engine.errors import Conflict
from engine.store.database import Row, Tx, UniqueViolation, from_ms, to_ms


def _account(row: Row) -> Account:
    return Account(
        id=row["id"],
        userid=row["userid"],
        role=Role(row["role"]),
        created_at=from_ms(row["created_at"]),
        email=row["email"],
        password_hash=row["password_hash"],
        must_change_password=bool(row["must_change_password"]),
        approved=bool(row["approved"]),
        token_version=row["token_version"],
        max_apps=row["max_apps"],
        locale=row["locale"],
    )


async def insert(tx: Tx, account: Account) -> None:
    """Raises Conflict naming the field whose value somebody else has."""
    try:
        await tx.run(
            "INSERT INTO accounts (id, userid, email, password_hash, role, must_change_password, approved,"
            " token_version, max_apps, locale, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            account.id,
            account.userid,
            account.email,
            account.password_hash,
            account.role.value,
            int(account.must_change_password),
            int(account.approved),
            account.token_version,
            account.max_apps,
            account.locale,
            to_ms(account.created_at),
        )
    except UniqueViolation as taken:
        if "email" in taken.columns:
            raise Conflict("email_taken", field="email") from None
        raise Conflict("handle_taken", field="username", handle=account.userid) from None


async def by_id(tx: Tx, account_id: str) -> Account | None:
    row = await tx.one("SELECT * FROM accounts WHERE id = ?", account_id)
    return _account(row) if row else None


async def by_userid(tx: Tx, userid: str) -> Account | None:
    row = await tx.one("SELECT * FROM accounts WHERE userid = ?", userid)
    return _account(row) if row else None


async def by_email(tx: Tx, email: str) -> Account | None:
    row = await tx.one("SELECT * FROM accounts WHERE email = ?", email.lower())
    return _account(row) if row else None


async def count(tx: Tx) -> int:
    row = await tx.one("SELECT count(*) AS n FROM accounts")
    assert row is not None
    return int(row["n"])


async def set_password(tx: Tx, account_id: str, password_hash: str, *, must_change: bool = False) -> None:
    """Also ends every session and token that was given before."""
    await tx.run(
        "UPDATE accounts SET password_hash = ?, must_change_password = ?, token_version = token_version + 1"
        " WHERE id = ?",
        password_hash,
        int(must_change),
        account_id,
    )
    await tx.run("DELETE FROM sessions WHERE account_id = ?", account_id)


async def set_locale(tx: Tx, account_id: str, locale: str) -> None:
    await tx.run("UPDATE accounts SET locale = ? WHERE id = ?", locale, account_id)


async def approve(tx: Tx, userid: str) -> bool:
    """Whether there was such an account."""
    return await tx.run("UPDATE accounts SET approved = 1 WHERE userid = ?", userid) > 0


async def insert_session(
    tx: Tx, token_hash: str, account_id: str, now: datetime, expires_at: datetime
) -> None:
    await tx.run("DELETE FROM sessions WHERE expires_at < ?", to_ms(now))
    await tx.run(
        "INSERT INTO sessions (token_hash, account_id, created_at, expires_at) VALUES (?, ?, ?, ?)",
        token_hash,
        account_id,
        to_ms(now),
        to_ms(expires_at),
    )


async def by_session(tx: Tx, token_hash: str, now: datetime) -> Account | None:
    row = await tx.one(
        "SELECT a.* FROM sessions s JOIN accounts a ON a.id = s.account_id"
        " WHERE s.token_hash = ? AND s.expires_at > ?",
        token_hash,
        to_ms(now),
    )
    return _account(row) if row else None


async def delete_session(tx: Tx, token_hash: str) -> None:
    await tx.run("DELETE FROM sessions WHERE token_hash = ?", token_hash)


async def record(  # noqa: PLR0917 - a line of the log has so many columns
    tx: Tx, at: datetime, account_id: str | None, via: str, action: str, target: str, outcome: str
) -> None:
    """One line of the audit log."""
    await tx.run(
        "INSERT INTO audit (at, account_id, via, action, target, outcome) VALUES (?, ?, ?, ?, ?, ?)",
        to_ms(at),
        account_id,
        via,
        action,
        target,
        outcome,
    )


async def remembered(tx: Tx, key: str) -> str | None:
    """What this installation keeps under `key`."""
    row = await tx.one("SELECT value FROM installation WHERE key = ?", key)
    return str(row["value"]) if row else None


async def installation_value(tx: Tx, key: str, fresh: str) -> str:
    """The value kept under `key`; `fresh` from now on where there is none yet."""
    await tx.run(
        "INSERT INTO installation (key, value) VALUES (?, ?) ON CONFLICT (key) DO NOTHING", key, fresh
    )
    row = await tx.one("SELECT value FROM installation WHERE key = ?", key)
    assert row is not None
    return str(row["value"])
