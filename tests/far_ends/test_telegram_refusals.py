"""What the Telegram of tests refuses, and that it says so in Telegram's words."""

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiogram.exceptions import TelegramUnauthorizedError

from tests.far_ends.telegram import Person, TelegramServer
from tests.far_ends.telegram_clients import bot_for, call_raw

TOO_OLD = "query is too old and response timeout expired or query ID is invalid"


@pytest.fixture
async def server() -> AsyncIterator[TelegramServer]:
    async with await TelegramServer.start() as started:
        yield started


@pytest.fixture
def mina(server: TelegramServer) -> Person:
    return server.person(7, first_name="Mina", language_code="ko", met=True)


def inline(**button: Any) -> dict[str, Any]:
    return {"chat_id": 7, "text": "x", "reply_markup": {"inline_keyboard": [[{"text": "b", **button}]]}}


@pytest.mark.parametrize(
    ("method", "params", "description"),
    [
        ("sendMessage", {"chat_id": 7}, "message text is empty"),
        ("sendMessage", {"chat_id": 7, "text": " \n"}, "text must be non-empty"),
        ("sendMessage", {"chat_id": 7, "text": "<b></b>", "parse_mode": "HTML"}, "text must be non-empty"),
        ("sendMessage", {"chat_id": 7, "text": "😀" * 2049}, "message is too long"),
        ("sendMessage", {"text": "x"}, "chat_id is empty"),
        ("sendMessage", {"chat_id": 8, "text": "x"}, "chat not found"),
        ("sendMessage", {"chat_id": "x", "text": "x"}, "chat not found"),
        ("sendMessage", {"chat_id": 7, "text": "x", "parse_mode": "BB"}, "unsupported parse_mode"),
        (
            "sendMessage",
            {"chat_id": 7, "text": "x", "colour": 1},
            'parameter "colour" is unknown to sendMessage',
        ),
        (
            "sendMessage",
            {"chat_id": 7, "text": "x", "protect_content": "maybe"},
            'parameter "protect_content" must be of type Boolean',
        ),
        (
            "sendMessage",
            {"chat_id": 7, "text": "x", "reply_parameters": {"message_id": 99}},
            "message to be replied not found",
        ),
        (
            "sendMessage",
            {"chat_id": 7, "text": "x", "reply_markup": "{"},
            "can't parse reply keyboard markup JSON object",
        ),
        (
            "sendMessage",
            {"chat_id": 7, "text": "x", "reply_markup": {"inline_keyboard": [{}]}},
            'field "inline_keyboard" of the InlineKeyboardMarkup must be an Array of Arrays',
        ),
        ("sendMessage", inline(callback_data="가" * 21 + "xx"), "BUTTON_DATA_INVALID"),
        (
            "sendMessage",
            inline(callback_data=""),
            "can't parse inline keyboard button: Text buttons are unallowed in the inline keyboard",
        ),
        (
            "sendMessage",
            inline(url="http://localhost:8080/"),
            "inline keyboard button URL 'http://localhost:8080/' is invalid: Wrong HTTP URL",
        ),
        (
            "sendMessage",
            inline(url="ftp://a.example"),
            "inline keyboard button URL 'ftp://a.example' is invalid: Unsupported URL protocol",
        ),
        ("editMessageText", {"text": "x"}, "message identifier is not specified"),
        ("editMessageText", {"chat_id": 7, "message_id": 99, "text": "x"}, "message to edit not found"),
        ("editMessageText", {"chat_id": 7, "message_id": 1, "text": "x"}, "message can't be edited"),
        ("deleteMessage", {"chat_id": 7}, "message identifier is not specified"),
        ("deleteMessage", {"chat_id": 7, "message_id": 99}, "message to delete not found"),
        (
            "deleteMessage",
            {"chat_id": 7, "message_id": "one"},
            'parameter "message_id" must be a valid Integer',
        ),
        (
            "deleteMessages",
            {"chat_id": 7, "message_ids": list(range(1, 102))},
            "too many message identifiers specified",
        ),
        ("answerCallbackQuery", {"callback_query_id": "5"}, TOO_OLD),
        ("sendChatAction", {"chat_id": 7, "action": "dance"}, "wrong parameter action in request"),
        ("sendDocument", {"chat_id": 7}, "there is no document in the request"),
        (
            "sendDocument",
            {"chat_id": 7, "document": "x", "caption": "x" * 1025},
            "message caption is too long",
        ),
        ("setMyCommands", {"commands": [{"command": "Start", "description": "d"}]}, "BOT_COMMAND_INVALID"),
        (
            "setMyCommands",
            {"commands": [{"command": "s" * 33, "description": "d"}]},
            "command length must not exceed 32",
        ),
        (
            "setMyCommands",
            {"commands": [{"command": "s", "description": ""}]},
            "command description must be non-empty",
        ),
        (
            "setMyCommands",
            {"commands": [{"command": "s", "description": "d"}] * 101},
            "BOT_COMMANDS_TOO_MUCH",
        ),
        ("setMyCommands", {"commands": [], "language_code": "kor"}, "invalid language code specified"),
        ("setWebhook", {"url": "https://a.example", "secret_token": "s" * 257}, "secret token is too long"),
        (
            "setWebhook",
            {"url": "https://a.example", "secret_token": "!"},
            "secret token contains unallowed characters",
        ),
    ],
)
async def test_refusals(
    server: TelegramServer, mina: Person, method: str, params: dict[str, Any], description: str
) -> None:
    await mina.send("own words", wait=False)
    answer = await call_raw(server, method, **params)
    assert answer == {"ok": False, "error_code": 400, "description": f"Bad Request: {description}"}


async def test_edges_that_pass(server: TelegramServer, mina: Person) -> None:
    for params in (
        {"chat_id": 7, "text": "😀" * 2048},
        {"chat_id": "7", "text": "<b>" + "x" * 4096 + "</b>", "parse_mode": "html"},
        inline(callback_data="가" * 21 + "x"),
        inline(url="http://127.0.0.1:8080"),
        inline(url="tg://user?id=7"),
        {
            "chat_id": 7,
            "text": "x",
            "reply_parameters": {"message_id": 9999, "allow_sending_without_reply": True},
        },
    ):
        assert (await call_raw(server, "SENDMESSAGE", **params))["ok"]


async def test_wrong_token_method_and_path(server: TelegramServer) -> None:
    wrong = server.token[:-1] + "_"
    assert await call_raw(server, "getMe", token=wrong) == {
        "ok": False,
        "error_code": 401,
        "description": "Unauthorized",
    }
    assert (await call_raw(server, "getMe", token="nonsense"))["error_code"] == 401
    assert (await call_raw(server, "getYou"))["description"].startswith("Not Found")
    assert (await call_raw(server, "sendDice", chat_id=7))["error_code"] == 501
    async with aiohttp.ClientSession() as session, session.get(f"{server.base_url}/elsewhere") as response:
        assert response.status == 404
    async with bot_for(server, wrong) as stranger:
        with pytest.raises(TelegramUnauthorizedError):
            await stranger.get_me()
    assert (await call_raw(server, "logOut"))["result"] is True
    assert (await call_raw(server, "getMe"))["description"] == "Logged out"


async def test_parameters_in_every_encoding(server: TelegramServer, mina: Person) -> None:
    url = f"{server.base_url}/bot{server.token}/sendMessage"
    params = {"chat_id": "7", "text": "<u>안녕</u>", "parse_mode": "HTML", "protect_content": "true"}
    form = aiohttp.FormData(params)
    form.add_field("reply_markup", json.dumps({"force_reply": True}), content_type="application/json")
    async with aiohttp.ClientSession() as session:
        for request in (
            session.get(url, params=params),
            session.post(url, data=params),
            session.post(url, json=params | {"chat_id": 7, "protect_content": True}),
            session.post(url, data=form),
        ):
            async with request as response:
                result = (await response.json())["result"]
            assert result["entities"] == [{"type": "underline", "offset": 0, "length": 2}]
            assert result["has_protected_content"] is True
    assert [message.text for message in mina.bot_messages] == ["안녕"] * 4


async def test_broken_markup(server: TelegramServer, mina: Person) -> None:
    for mode, source, complaint in (
        ("MarkdownV2", "Done.", "Character '.' is reserved and must be escaped with the preceding '\\'"),
        ("HTML", "<b>x", 'Can\'t find end tag corresponding to start tag "b"'),
    ):
        answer = await call_raw(server, "sendMessage", chat_id=7, text=source, parse_mode=mode)
        assert answer["description"] == f"Bad Request: can't parse entities: {complaint}"
