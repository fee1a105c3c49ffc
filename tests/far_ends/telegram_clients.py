"""Ways to speak to the Telegram of tests: a real aiogram bot, its polling, and bare HTTP."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
from aiogram import Bot, Dispatcher
from aiogram.client.default import DefaultBotProperties
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import TelegramAPIServer

from .telegram import TelegramServer


def bot_for(server: TelegramServer, token: str = "") -> Bot:
    """Use it as an async context manager, which closes its session."""
    session = AiohttpSession(api=TelegramAPIServer.from_base(server.base_url))
    return Bot(token or server.token, session=session, default=DefaultBotProperties(parse_mode="HTML"))


@contextlib.asynccontextmanager
async def polling(bot: Bot, server: TelegramServer, dispatcher: Dispatcher) -> AsyncIterator[None]:
    """The dispatcher polls while inside."""
    run = dispatcher.start_polling(bot, handle_signals=False, close_bot_session=False, polling_timeout=30)
    task = asyncio.create_task(run)
    try:
        await server.wait_for_poller()
        yield
    finally:
        await dispatcher.stop_polling()
        await task


async def call_raw(server: TelegramServer, method: str, token: str = "", **params: Any) -> dict[str, Any]:
    """Calls a method with a JSON body; returns the envelope, which must agree with the HTTP status."""
    url = f"{server.base_url}/bot{token or server.token}/{method}"
    async with aiohttp.ClientSession() as session, session.post(url, json=params) as response:
        body: dict[str, Any] = await response.json()
    assert response.status == (200 if body["ok"] else body["error_code"])
    return body
