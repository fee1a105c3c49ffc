"""Updates reach the bot as from Telegram: offsets, two pollers, webhooks, repeats and outages."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiogram import Bot, Dispatcher
from aiogram.exceptions import (
    TelegramBadRequest,
    TelegramConflictError,
    TelegramNetworkError,
    TelegramServerError,
)
from aiogram.types import Message, Update
from aiogram.webhook.aiohttp_server import SimpleRequestHandler
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.far_ends.telegram import Limits, Person, TelegramServer
from tests.far_ends.telegram_clients import bot_for, polling

ANOTHER_POLLER = "terminated by other getUpdates request; make sure that only one bot instance is running"
SECRET_HEADER = "X-Telegram-Bot-Api-Secret-Token"


@pytest.fixture
async def server() -> AsyncIterator[TelegramServer]:
    limits = Limits(webhook_first_retry_s=0.01, webhook_longest_retry_s=0.02)
    async with await TelegramServer.start(local_mode=True, limits=limits) as started:
        yield started


@pytest.fixture
async def bot(server: TelegramServer) -> AsyncIterator[Bot]:
    async with bot_for(server) as made:
        yield made


@pytest.fixture
def mina(server: TelegramServer) -> Person:
    return server.person(7, met=True)


def texts(updates: list[Update]) -> list[str | None]:
    return [update.message.text for update in updates if update.message]


def echo() -> Dispatcher:
    dispatcher = Dispatcher()

    @dispatcher.message()
    async def answer(message: Message) -> None:
        await message.answer(f"echo {message.text}")

    return dispatcher


class Hook:
    """A webhook that answers as it is told, then 200."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.seen: list[tuple[str | None, dict[str, Any]]] = []
        self.reply: dict[str, Any] = {}
        self.gates: dict[str, asyncio.Event] = {}

    async def take(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.seen.append((request.headers.get(SECRET_HEADER), body))
        gate = self.gates.get(body.get("message", {}).get("text"))
        if gate:
            await gate.wait()
        return web.json_response(self.reply, status=self.statuses.pop(0) if self.statuses else 200)


@pytest.fixture
async def hook() -> AsyncIterator[tuple[Hook, str]]:
    made = Hook()
    app = web.Application()
    app.router.add_post("/hook", made.take)
    async with TestServer(app) as listening:
        yield made, str(listening.make_url("/hook"))


async def test_offsets_confirm(mina: Person, bot: Bot) -> None:
    for text in ("one", "two", "three"):
        await mina.send(text, wait=False)
    first = await bot.get_updates(limit=2)
    assert texts(first) == ["one", "two"]
    assert texts(await bot.get_updates()) == ["one", "two", "three"]
    assert texts(await bot.get_updates(offset=first[1].update_id)) == ["two", "three"]
    assert texts(await bot.get_updates(offset=first[0].update_id)) == ["two", "three"]
    assert texts(await bot.get_updates(offset=first[0].update_id + 999)) == ["two", "three"]
    assert texts(await bot.get_updates(offset=-1)) == ["three"]
    assert await bot.get_updates(offset=first[1].update_id + 2) == []
    assert await bot.get_updates() == []


async def test_long_poll_ends_with_news(server: TelegramServer, mina: Person, bot: Bot) -> None:
    poll = asyncio.create_task(bot.get_updates(timeout=30))
    await server.wait_for_poller()
    await mina.send("news")
    assert texts(await poll) == ["news"]
    assert await bot.get_updates(offset=server.updates.pending[-1].update_id + 1) == []


async def test_allowed_updates_are_remembered(mina: Person, bot: Bot) -> None:
    await bot.get_updates(allowed_updates=["callback_query"])
    await mina.send("unheard")
    await bot.get_updates()
    await mina.send("unheard")
    await bot.get_updates(allowed_updates=[])
    await mina.send("heard", wait=False)
    assert texts(await bot.get_updates()) == ["heard"]


async def test_second_poller_ends_the_first(server: TelegramServer, mina: Person, bot: Bot) -> None:
    first = asyncio.create_task(bot.get_updates(timeout=30))
    await server.wait_for_poller()
    second = asyncio.create_task(bot.get_updates(timeout=30))
    with pytest.raises(TelegramConflictError) as caught:
        await first
    assert caught.value.message == f"Conflict: {ANOTHER_POLLER}"
    await mina.send("news")
    assert texts(await second) == ["news"]


async def test_edited_messages_are_told(mina: Person, bot: Bot) -> None:
    said = await mina.send("teh", wait=False)
    await mina.edit(said, "the", wait=False)
    edited = [update.edited_message for update in await bot.get_updates() if update.edited_message]
    assert [message.text for message in edited] == ["the"]


async def test_redelivery(server: TelegramServer, mina: Person, bot: Bot) -> None:
    async with polling(bot, server, echo()):
        await mina.send("once")
        await mina.wait_for("echo once")
        [update_id] = server.updates.by_id
        await server.redeliver(update_id)
        await mina.private.wait_until(lambda: len(mina.bot_messages) == 2)
    assert server.updates.by_id[update_id].deliveries == 2


async def test_nobody_takes_the_update(server: TelegramServer, mina: Person) -> None:
    server.limits.delivery_timeout_s = 0.01
    with pytest.raises(TimeoutError, match=r"(?s)is the bot polling\?.*#1 Mina: hello"):
        await mina.send("hello")


@pytest.mark.parametrize("kind", ["bad_gateway", "page", "dropped"])
async def test_outage(server: TelegramServer, mina: Person, bot: Bot, kind: Any) -> None:
    errors = {"bad_gateway": TelegramServerError, "dropped": TelegramNetworkError}
    with server.outage(kind):
        await mina.send("meanwhile", wait=False)
        if kind == "page":
            async with aiohttp.ClientSession() as session:
                response = await session.get(f"{server.base_url}/bot{server.token}/getMe")
                assert (response.status, response.content_type) == (502, "text/html")
        else:
            with pytest.raises(errors[kind]):
                await bot.get_me()
    assert texts(await bot.get_updates()) == ["meanwhile"]


async def test_outage_cuts_a_poll(server: TelegramServer, bot: Bot) -> None:
    poll = asyncio.create_task(bot.get_updates(timeout=30))
    await server.wait_for_poller()
    with server.outage(), pytest.raises(TelegramServerError):
        await poll


async def test_fail_next(server: TelegramServer, bot: Bot) -> None:
    server.fail_next("getMe", 500, "Internal Server Error: restart")
    with pytest.raises(TelegramServerError):
        await bot.get_me()
    assert (await bot.get_me()).is_bot
    assert (await server.wait_for_call("getMe", lambda call: call.status == 500)).description.endswith(
        "restart"
    )
    with pytest.raises(TimeoutError, match="getMe 500"):
        await server.wait_for_call("sendMessage", timeout=0.01)


async def test_webhook_delivers_with_the_secret(
    server: TelegramServer, mina: Person, bot: Bot, hook: tuple[Hook, str]
) -> None:
    seen, url = hook
    await mina.send("before", wait=False)
    await bot.set_webhook(url, secret_token="s3-cret_", allowed_updates=["message"], max_connections=2)
    await mina.send("after")
    assert [(secret, body["message"]["text"]) for secret, body in seen.seen] == [
        ("s3-cret_", "before"),
        ("s3-cret_", "after"),
    ]
    with pytest.raises(TelegramConflictError, match="can't use getUpdates method while webhook is active"):
        await bot.get_updates()
    info = await bot.get_webhook_info()
    assert (info.url, info.pending_update_count, info.max_connections) == (url, 0, 2)
    assert info.allowed_updates == ["message"]
    await bot.delete_webhook()
    await mina.send("later", wait=False)
    assert texts(await bot.get_updates()) == ["later"]


async def test_webhook_retries_in_order(mina: Person, bot: Bot, hook: tuple[Hook, str]) -> None:
    seen, url = hook
    seen.statuses = [500, 500, 403, 200]
    await bot.set_webhook(url)
    await mina.send("one", wait=False)
    await mina.send("two")
    assert [body["message"]["text"] for _, body in seen.seen] == ["one"] * 4 + ["two"]
    assert {secret for secret, _ in seen.seen} == {None}
    info = await bot.get_webhook_info()
    assert info.last_error_message == "Wrong response from the webhook: 403 Forbidden"
    assert info.last_error_date


async def test_one_slow_chat_does_not_hold_another(
    server: TelegramServer, mina: Person, bot: Bot, hook: tuple[Hook, str]
) -> None:
    seen, url = hook
    seen.gates["slow"] = asyncio.Event()
    await bot.set_webhook(url)
    await mina.send("slow", wait=False)
    await mina.send("after slow", wait=False)
    await server.person().send("quick")
    assert [body["message"]["text"] for _, body in seen.seen] == ["slow", "quick"]
    seen.gates["slow"].set()
    await mina.send("last")
    assert [body["message"]["text"] for _, body in seen.seen][2:] == ["after slow", "last"]


async def test_webhook_answers_with_a_method(
    server: TelegramServer, mina: Person, bot: Bot, hook: tuple[Hook, str]
) -> None:
    seen, url = hook
    seen.reply = {"method": "sendMessage", "chat_id": 7, "text": "at once"}
    await bot.set_webhook(url)
    await mina.send("hi")
    await mina.wait_for("at once")
    seen.reply = {"method": "sendMessage", "chat_id": 7}
    await mina.send("hi")
    await server.wait_for_call("sendMessage", lambda call: call.status == 400)


async def test_webhook_of_aiogram(server: TelegramServer, mina: Person, bot: Bot) -> None:
    app = web.Application()
    SimpleRequestHandler(echo(), bot, secret_token="right", handle_in_background=False).register(app, "/hook")
    async with TestServer(app) as listening:
        await bot.set_webhook(str(listening.make_url("/hook")), secret_token="right")
        await mina.send("hi")
        await mina.wait_for("echo hi")
        await server.redeliver(next(iter(server.updates.by_id)))
        await mina.private.wait_until(lambda: len(mina.bot_messages) == 2)
        await bot.set_webhook(
            str(listening.make_url("/hook")), secret_token="wrong", drop_pending_updates=True
        )
        await mina.send("refused", wait=False)
        await mina.private.wait_until(lambda: server.updates.last_error is not None)
        assert (await bot.get_webhook_info()).pending_update_count == 1
        await bot.delete_webhook(drop_pending_updates=True)
    assert await bot.get_updates() == []


async def test_set_webhook_ends_a_poll(server: TelegramServer, bot: Bot, hook: tuple[Hook, str]) -> None:
    poll = asyncio.create_task(bot.get_updates(timeout=30))
    await server.wait_for_poller()
    await bot.set_webhook(hook[1])
    with pytest.raises(TelegramConflictError, match="terminated by setWebhook request"):
        await poll


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("http://a.example/", "bad webhook: An HTTPS URL must be provided for webhook"),
        ("https://a.example:8080/", "bad webhook: Webhook can be set up only on ports 80, 88, 443 or 8443"),
        ("https://10.0.0.1/", "bad webhook: IP address 10.0.0.1 is reserved"),
        ("https://localhost/", "bad webhook: IP address 127.0.0.1 is reserved"),
        ("ftp://a.example/", "invalid webhook URL specified"),
    ],
)
async def test_webhook_addresses_outside_local_mode(url: str, complaint: str) -> None:
    async with await TelegramServer.start() as strict, bot_for(strict) as bot:
        with pytest.raises(TelegramBadRequest) as caught:
            await bot.set_webhook(url)
        assert caught.value.message == f"Bad Request: {complaint}"
        await bot.set_webhook("https://a.example/")
        await bot.set_webhook("")
        assert (await bot.get_webhook_info()).url == ""
