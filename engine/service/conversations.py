"""What a conversation remembers between two messages, and whom it belongs to."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from engine.domain import Account, new_id
from engine.ports import Clock
from engine.store import accounts, chats
from engine.store.chats import Chat, Watch
from engine.store.database import Database

__all__ = ["Chat", "ConversationService", "Watch"]


class ConversationService:
    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def open(self, surface: str, address: str, locale: str) -> tuple[Chat, Account | None]:
        """The conversation at that address, begun now where there is none, and the account that it acts as."""
        async with self._database.read() as tx:
            chat = await chats.find(tx, surface, address)
        if chat is None:
            fresh = Chat(new_id(), surface, address, locale, self._clock.now())
            async with self._database.write() as tx:
                chat = await chats.insert(tx, fresh)
        return chat, await self.account(chat)

    async def account(self, chat: Chat) -> Account | None:
        if chat.account_id is None:
            return None
        async with self._database.read() as tx:
            return await accounts.by_id(tx, chat.account_id)

    async def save(self, chat: Chat, actions: Sequence[Mapping[str, Any]]) -> str:
        """Keeps where the talk stands and what the buttons about to be shown do; returns their screen's id."""
        screen_id = secrets.token_urlsafe(9)
        now = self._clock.now()
        async with self._database.write() as tx:
            await chats.save(tx, chat, now)
            if actions:
                await chats.save_screen(tx, screen_id, chat.id, actions, now)
        return screen_id

    async def action(self, chat: Chat, button_id: str) -> Mapping[str, Any] | None:
        """What that button of that chat does ("screen.index"); None when it is not known (any more)."""
        screen_id, _, index = button_id.partition(".")
        async with self._database.read() as tx:
            actions = await chats.screen(tx, screen_id, chat.id)
        if actions is None or not index.isdecimal() or int(index) >= len(actions):
            return None
        return actions[int(index)]

    async def first_seen(self, surface: str, update_id: str) -> bool:
        """Whether this update was not handled before (CHAT.md: delivered twice acts once)."""
        async with self._database.write() as tx:
            return await chats.first_seen(tx, surface, update_id, self._clock.now())

    async def watch(self, watch: Watch) -> None:
        async with self._database.write() as tx:
            await chats.watch(tx, watch)

    async def unwatch(self, watch: Watch) -> bool:
        """Whether it was still being watched."""
        async with self._database.write() as tx:
            return await chats.unwatch(tx, watch)

    async def watches(self, surface: str) -> Sequence[Watch]:
        """What the chats of a surface were watching, to go on with after a restart."""
        async with self._database.read() as tx:
            return await chats.watches(tx, surface)
