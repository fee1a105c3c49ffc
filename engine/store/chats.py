"""Conversations: who talks where, where the talk stands, which buttons were shown, which updates were seen."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from engine.store.database import Row, Tx, UniqueViolation, from_ms, to_ms


@dataclass(frozen=True, slots=True)
class Chat:
    """One conversation. `address` is the surface's own name for it; `state` is the flow's, opaque here."""

    id: str
    surface: str
    address: str
    locale: str
    created_at: datetime
    account_id: str | None = None
    state: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Watch:
    """The message `message_ref` of the chat shows that operation's progress."""

    chat: Chat
    operation_id: str
    message_ref: str | None


def _chat(row: Row) -> Chat:
    return Chat(
        id=row["id"],
        surface=row["surface"],
        address=row["address"],
        locale=row["locale"],
        account_id=row["account_id"],
        state=json.loads(row["state"]),
        created_at=from_ms(row["created_at"]),
    )


async def find(tx: Tx, surface: str, address: str) -> Chat | None:
    row = await tx.one("SELECT * FROM chats WHERE surface = ? AND address = ?", surface, address)
    return _chat(row) if row else None


async def insert(tx: Tx, chat: Chat) -> Chat:
    """The chat as it is kept; the one already there where there is one."""
    await tx.run(
        "INSERT INTO chats (id, surface, address, account_id, locale, state, created_at, changed_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (surface, address) DO NOTHING",
        chat.id,
        chat.surface,
        chat.address,
        chat.account_id,
        chat.locale,
        json.dumps(dict(chat.state)),
        to_ms(chat.created_at),
        to_ms(chat.created_at),
    )
    kept = await find(tx, chat.surface, chat.address)
    assert kept is not None
    return kept


async def save(tx: Tx, chat: Chat, now: datetime) -> None:
    await tx.run(
        "UPDATE chats SET account_id = ?, locale = ?, state = ?, changed_at = ? WHERE id = ?",
        chat.account_id,
        chat.locale,
        json.dumps(dict(chat.state)),
        to_ms(now),
        chat.id,
    )


async def watch(tx: Tx, watch: Watch) -> None:
    await tx.run(
        "INSERT INTO chat_watches (chat_id, operation_id, message_ref) VALUES (?, ?, ?)"
        " ON CONFLICT (chat_id, operation_id) DO UPDATE SET message_ref = excluded.message_ref",
        watch.chat.id,
        watch.operation_id,
        watch.message_ref,
    )


async def unwatch(tx: Tx, watch: Watch) -> bool:
    """Whether it was still being watched."""
    sql = "DELETE FROM chat_watches WHERE chat_id = ? AND operation_id = ?"
    return await tx.run(sql, watch.chat.id, watch.operation_id) > 0


async def watches(tx: Tx, surface: str) -> list[Watch]:
    """What the chats of a surface are watching."""
    rows = await tx.all(
        "SELECT c.*, w.operation_id, w.message_ref FROM chat_watches w JOIN chats c ON c.id = w.chat_id"
        " WHERE c.surface = ?",
        surface,
    )
    return [Watch(_chat(row), row["operation_id"], row["message_ref"]) for row in rows]


async def save_screen(
    tx: Tx, screen_id: str, chat_id: str, actions: Sequence[Mapping[str, Any]], now: datetime
) -> None:
    """Keeps what the buttons of a shown screen do."""
    await tx.run(
        "INSERT INTO chat_screens (id, chat_id, actions, created_at) VALUES (?, ?, ?, ?)",
        screen_id,
        chat_id,
        json.dumps([dict(action) for action in actions]),
        to_ms(now),
    )


async def screen(tx: Tx, screen_id: str, chat_id: str) -> Sequence[Mapping[str, Any]] | None:
    """The actions of that screen, if it was shown in that chat."""
    row = await tx.one("SELECT actions FROM chat_screens WHERE id = ? AND chat_id = ?", screen_id, chat_id)
    return list(json.loads(row["actions"])) if row else None


async def first_seen(tx: Tx, surface: str, update_id: str, now: datetime) -> bool:
    """Whether this update is new; from now on it is not."""
    try:
        await tx.run(
            "INSERT INTO seen_updates (surface, update_id, at) VALUES (?, ?, ?)",
            surface,
            update_id,
            to_ms(now),
        )
    except UniqueViolation:
        return False
    return True


async def forget_before(tx: Tx, moment: datetime) -> None:
    """Lets go of seen updates and of screens older than `moment`, but for each chat's newest: yesterday's menu still works.
    A press on a forgotten button redraws where the person stands."""
    await tx.run("DELETE FROM seen_updates WHERE at < ?", to_ms(moment))
    await tx.run(
        "DELETE FROM chat_screens WHERE created_at < ? AND EXISTS (SELECT 1 FROM chat_screens newer"
        " WHERE newer.chat_id = chat_screens.chat_id AND newer.created_at > chat_screens.created_at)",
        to_ms(moment),
    )


async def forget_strangers(tx: Tx, moment: datetime) -> None:
    """Lets go of chats in which nobody said who they are and nothing was said since `moment`: whoever opens the page
    begins one, robots too."""
    await tx.run("DELETE FROM chats WHERE account_id IS NULL AND changed_at < ?", to_ms(moment))
