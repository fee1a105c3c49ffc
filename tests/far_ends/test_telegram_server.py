"""The Telegram that tests run against is itself held to what Telegram does, over HTTP and through aiogram."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiogram import Bot, Dispatcher, F
from aiogram.exceptions import (
    TelegramBadRequest,
    TelegramForbiddenError,
    TelegramRetryAfter,
)
from aiogram.filters import Command
from aiogram.types import (
    BotCommand,
    BotCommandScopeAllPrivateChats,
    BotCommandScopeChat,
    BufferedInputFile,
    CallbackQuery,
    InlineKeyboardButton,
    InlineKeyboardMarkup,
    KeyboardButton,
    Message,
    ReplyKeyboardMarkup,
    Update,
)

from tests.far_ends.telegram import Group, Limits, Person, TelegramServer
from tests.far_ends.telegram_clients import bot_for, call_raw, polling
from tests.far_ends.telegram_wire import check_shape

NOT_MODIFIED = (
    "Bad Request: message is not modified: specified new message content and reply markup are exactly the same as a "
    "current content and reply markup of the message"
)
TOO_OLD = "Bad Request: query is too old and response timeout expired or query ID is invalid"
PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x20\x00\x00\x00\x10"


@pytest.fixture
async def server() -> AsyncIterator[TelegramServer]:
    async with await TelegramServer.start() as started:
        yield started


@pytest.fixture
async def bot(server: TelegramServer) -> AsyncIterator[Bot]:
    async with bot_for(server) as made:
        yield made


@pytest.fixture
def mina(server: TelegramServer) -> Person:
    return server.person(7, first_name="Mina", language_code="ko", username="mina", met=True)


@pytest.fixture
async def bot_in_crowd() -> AsyncIterator[tuple[Bot, Group]]:
    async with await TelegramServer.start(limits=Limits.like_telegram()) as strict, bot_for(strict) as made:
        yield made, strict.chat("crowd", [strict.person()])


def keyboard(*labels: str, **button: Any) -> InlineKeyboardMarkup:
    made = [InlineKeyboardButton(text=label, **(button or {"callback_data": label})) for label in labels]
    return InlineKeyboardMarkup(inline_keyboard=[made])


def counting_shop() -> Dispatcher:
    """A bot that does a little of everything."""
    dispatcher = Dispatcher()

    @dispatcher.message(Command("start"))
    async def start(message: Message) -> None:
        await message.answer("무엇을 <b>만들까요</b>?", reply_markup=keyboard("다이어리", "홈페이지"))

    @dispatcher.callback_query(F.data == "다이어리")
    async def diary(query: CallbackQuery) -> None:
        await query.answer("잠시만요")
        assert isinstance(query.message, Message)
        await query.message.edit_text("만드는 중")
        await query.message.edit_text(
            "다 됐어요", reply_markup=keyboard("열기", url="https://mina.example.com")
        )

    @dispatcher.callback_query()
    async def other(query: CallbackQuery) -> None:
        await query.answer()

    @dispatcher.message(F.document)
    async def file(message: Message, bot: Bot) -> None:
        assert message.document is not None
        content = await bot.download(message.document)
        assert content is not None
        await message.answer_document(BufferedInputFile(content.read()[::-1], "back.txt"), caption="back")

    @dispatcher.message()
    async def echo(message: Message) -> None:
        await message.answer(f"echo {message.text}")

    return dispatcher


# What a person sees


async def test_chatting_through_aiogram(server: TelegramServer, bot: Bot) -> None:
    person = server.person(first_name="Mina", language_code="ko")
    async with polling(bot, server, counting_shop()):
        await person.send("/start")
        menu = await person.wait_for("무엇을")
        assert (menu.text, menu.html) == ("무엇을 만들까요?", "무엇을 <b>만들까요</b>?")
        assert menu.buttons == [["다이어리", "홈페이지"]]
        press = await person.press("다이어리")
        toast = await person.wait_for_toast("잠시")
        assert press
        assert await press.answer() is toast
        assert (toast.text, toast.show_alert) == ("잠시만요", False)
        done = await person.wait_for("다 됐어요")
    assert done is menu
    assert [version.text for version in done.history] == ["무엇을 만들까요?", "만드는 중", "다 됐어요"]
    assert done.edits == 2
    assert [button.url for row in done.keyboard for button in row] == ["https://mina.example.com/"]
    assert [toast.text for toast in person.toasts] == ["잠시만요"]
    assert "Madang [edited 2x]: 다 됐어요\n    [열기]" in person.transcript()


async def test_press_without_words_and_on_a_link(server: TelegramServer, bot: Bot) -> None:
    person = server.person()
    async with polling(bot, server, counting_shop()):
        await person.send("/start")
        menu = await person.wait_for("무엇을")
        press = await person.press("홈페이지", menu)
        assert press
        assert await press.answer() is None
        assert person.toasts == []
        with pytest.raises(AssertionError, match="no button '없음'"):
            await person.press("없음")
        await person.press("다이어리")
        await person.wait_for("다 됐어요")
        with pytest.raises(AssertionError, match=r"is a link to https://mina.example.com/"):
            await person.press("열기")
        forged = await person.press_raw("9" * 64, menu)
        assert await forged.answer() is None


async def test_files_go_both_ways(server: TelegramServer, bot: Bot) -> None:
    person = server.person()
    async with polling(bot, server, counting_shop()):
        await person.send_document("index.html", b"<p>hi</p>")
        answer = await person.wait_for("back")
    assert answer.file
    assert (answer.file.name, answer.file.content) == ("back.txt", b">p/<ih>p<")
    again = await bot.send_document(person.id, answer.file.file_id)
    assert again.document
    assert again.document.file_id == answer.file.file_id
    photo = await bot.send_photo(person.id, BufferedInputFile(PNG, "a.png"), caption="<i>작은</i>")
    assert photo.photo
    assert (photo.photo[0].width, photo.photo[0].height, photo.caption) == (32, 16, "작은")
    with pytest.raises(TelegramBadRequest, match="can't use file of type Photo as Document"):
        await bot.send_document(person.id, photo.photo[0].file_id)
    with pytest.raises(TelegramBadRequest, match="IMAGE_PROCESS_FAILED"):
        await bot.send_photo(person.id, BufferedInputFile(b"text", "a.png"))
    with pytest.raises(TelegramBadRequest, match="file must be non-empty"):
        await bot.send_document(person.id, BufferedInputFile(b"", "a.txt"))


async def test_download_needs_get_file_first(server: TelegramServer, mina: Person) -> None:
    sent = await mina.send_photo(PNG, wait=False)
    assert sent.file
    url = f"{server.base_url}/file/bot{server.token}/{sent.file.path}"
    async with aiohttp.ClientSession() as session:
        assert (await session.get(url)).status == 404
        assert (await call_raw(server, "getFile", file_id=sent.file.file_id))["result"][
            "file_path"
        ] == sent.file.path
        async with session.get(url) as response:
            assert await response.read() == PNG
        assert (await session.get(url.replace(server.token, "1:x"))).status == 401
    assert (await call_raw(server, "getFile", file_id="nope"))["error_code"] == 400


async def test_wait_for_prints_the_chat(server: TelegramServer, mina: Person, bot: Bot) -> None:
    sent = await bot.send_message(7, "안녕", reply_markup=keyboard("a", "b"))
    with pytest.raises(
        TimeoutError, match=r"(?s)satisfies 'bye' within 0.01 s.*#1 Madang: 안녕\n    \[a\] \[b\]"
    ):
        await mina.wait_for("bye", timeout=0.01)
    mark = mina.revision
    with pytest.raises(TimeoutError):
        await mina.wait_for("안녕", timeout=0.01, since=mark)
    await bot.delete_message(7, sent.message_id)
    with pytest.raises(TimeoutError, match=r"Madang \[deleted\]"):
        await mina.wait_for("안녕", timeout=0.01)


async def test_reply_keyboard_sends_its_words(server: TelegramServer, mina: Person, bot: Bot) -> None:
    rows = [[KeyboardButton(text="시작"), KeyboardButton(text="멈춤")]]
    sent = await bot.send_message(7, "고르세요", reply_markup=ReplyKeyboardMarkup(keyboard=rows))
    assert sent.reply_markup is None
    assert mina.private.reply_keyboard == [["시작", "멈춤"]]
    assert await mina.press("시작", wait=False) is None
    assert [update.message.text for update in await bot.get_updates() if update.message] == ["시작"]
    with pytest.raises(TelegramBadRequest, match="message can't be edited"):
        await bot.edit_message_text("x", chat_id=7, message_id=sent.message_id)


async def test_group_hides_talk_from_the_bot(server: TelegramServer, bot: Bot) -> None:
    owner, guest, stranger = (server.person(first_name=name) for name in ("Own", "Gue", "Str"))
    group = server.chat("팀", [owner, guest], username="team")
    await guest.send("just talk", chat=group, wait=False)
    await guest.send("/start@other_bot", chat=group, wait=False)
    await guest.send("/start@madang_test_bot now", chat=group, wait=False)
    [update] = await bot.get_updates()
    assert update.message
    assert update.message.entities
    assert update.message.entities[0].extract_from(update.message.text or "") == "/start@madang_test_bot"
    hello = await bot.send_message("@team", "hello")
    said = await owner.send("re", chat=group, reply_to=group.bot_messages[-1], wait=False)
    assert hello.message_id == said.id - 1
    with pytest.raises(TelegramBadRequest, match="message can't be deleted"):
        await bot.delete_message(group.id, said.id)
    group.kick_bot(owner)
    with pytest.raises(TelegramForbiddenError, match="bot was kicked from the supergroup chat"):
        await bot.send_message(group.id, "x")
    group.add_bot(owner)
    await bot.send_message(group.id, "back")
    with pytest.raises(AssertionError, match="not a member"):
        await stranger.send("hi", chat=group, wait=False)


async def test_blocking_is_told_and_felt(server: TelegramServer, mina: Person, bot: Bot) -> None:
    mina.block()
    with pytest.raises(TelegramForbiddenError, match="Forbidden: bot was blocked by the user"):
        await bot.send_message(7, "psst")
    mina.unblock()
    await bot.send_message(7, "hi again")
    changes = [update.my_chat_member for update in await bot.get_updates()]
    assert [change.new_chat_member.status for change in changes if change] == ["kicked", "member"]


# Editing, answering, limits


async def test_editing(server: TelegramServer, mina: Person, bot: Bot) -> None:
    sent = await bot.send_message(7, "one", reply_markup=keyboard("a"))
    same: dict[str, Any] = {"chat_id": 7, "message_id": sent.message_id}
    with pytest.raises(TelegramBadRequest) as caught:
        await bot.edit_message_text(" one ", **same, reply_markup=keyboard("a"))
    assert caught.value.message == NOT_MODIFIED
    bare = await bot.edit_message_text("one", **same)
    assert isinstance(bare, Message)
    assert (bare.reply_markup, bare.edit_date) == (None, None)
    with pytest.raises(TelegramBadRequest, match="message is not modified"):
        await bot.edit_message_reply_markup(**same)
    await bot.edit_message_reply_markup(**same, reply_markup=keyboard("b"))
    bold = await bot.edit_message_text("<b>one</b>", **same, reply_markup=keyboard("b"))
    assert isinstance(bold, Message)
    assert bold.edit_date
    with pytest.raises(TelegramBadRequest, match="MESSAGE_TOO_LONG"):
        await bot.edit_message_text("x" * 4097, **same)
    await bot.delete_messages(7, [sent.message_id, 99])
    with pytest.raises(TelegramBadRequest, match="message to edit not found"):
        await bot.edit_message_text("two", **same)
    [message] = mina.messages
    assert message.deleted
    assert [version.buttons for version in message.history] == [(("a",),), (), (("b",),), (("b",),)]


async def test_old_messages_cannot_be_deleted(server: TelegramServer, mina: Person, bot: Bot) -> None:
    sent = await bot.send_message(7, "one")
    server.clock.advance(49 * 3600)
    with pytest.raises(TelegramBadRequest, match="message can't be deleted for everyone"):
        await bot.delete_message(7, sent.message_id)


async def test_answering_a_button(server: TelegramServer, mina: Person, bot: Bot) -> None:
    await bot.send_message(7, "one", reply_markup=keyboard("a"))
    first, second = [await mina.press("a", wait=False) for _ in range(2)]
    assert first
    assert second
    with pytest.raises(TelegramBadRequest, match="MESSAGE_TOO_LONG"):
        await bot.answer_callback_query(first.id, "x" * 201)
    await bot.answer_callback_query(first.id, "x" * 200, show_alert=True)
    assert mina.toasts[0].show_alert
    for press, later_s in ((first, 0), (second, 16)):
        server.clock.advance(later_s)
        with pytest.raises(TelegramBadRequest) as caught:
            await bot.answer_callback_query(press.id)
        assert caught.value.message == TOO_OLD


async def test_press_on_a_deleted_message(server: TelegramServer, mina: Person, bot: Bot) -> None:
    sent = await bot.send_message(7, "one", reply_markup=keyboard("a"))
    await bot.delete_message(7, sent.message_id)
    await mina.press_raw("a", mina.messages[0], wait=False)
    [update] = (await call_raw(server, "getUpdates"))["result"]
    expected = {
        "chat": mina.private.info.model_dump(exclude_none=True),
        "message_id": sent.message_id,
        "date": 0,
    }
    assert update["callback_query"]["message"] == expected


async def test_throttling(server: TelegramServer, mina: Person, bot: Bot) -> None:
    server.throttle_next("sendMessage", 17)
    with pytest.raises(TelegramRetryAfter) as caught:
        await bot.send_message(7, "x")
    assert caught.value.retry_after == 17
    server.throttle_next("getMe", 3)
    assert await call_raw(server, "getMe") == {
        "ok": False,
        "error_code": 429,
        "description": "Too Many Requests: retry after 3",
        "parameters": {"retry_after": 3},
    }
    assert [(call.method, call.status) for call in server.calls] == [("sendMessage", 429), ("getMe", 429)]
    assert server.called("sendmessage")[0].params["text"] == "x"


async def test_floods(server: TelegramServer, mina: Person, bot: Bot) -> None:
    server.person(8, met=True)
    server.limits.per_chat_per_s, server.limits.per_chat_burst = 1.0, 2
    for text in ("one", "two"):
        await bot.send_message(7, text)
    with pytest.raises(TelegramRetryAfter) as caught:
        await bot.send_message(7, "three")
    assert caught.value.retry_after in (1, 2)
    await bot.send_message(8, "elsewhere")
    await bot.send_chat_action(7, "typing")
    server.clock.advance(2)
    await bot.send_message(7, "three")
    server.limits.overall_per_s = 1.0
    await bot.send_message(8, "four")
    with pytest.raises(TelegramRetryAfter):
        await bot.send_message(8, "five")


async def test_floods_as_at_telegram(bot_in_crowd: tuple[Bot, Group]) -> None:
    bot, group = bot_in_crowd
    for text in ("one", "two", "three"):
        await bot.send_message(group.id, text)
    with pytest.raises(TelegramRetryAfter):
        await bot.send_message(group.id, "four")


# The bot itself


async def test_command_menus(server: TelegramServer, mina: Person, bot: Bot) -> None:
    def commands(*names: str) -> list[BotCommand]:
        return [BotCommand(command=name, description=name) for name in names]

    english = server.person(8, language_code="en", met=True)
    await bot.set_my_commands(commands("new"))
    await bot.set_my_commands(commands("new", "apps"), BotCommandScopeAllPrivateChats(), language_code="ko")
    assert (mina.commands, english.commands) == (["new", "apps"], ["new"])
    await bot.set_my_commands(commands("admin"), BotCommandScopeChat(chat_id=8))
    assert english.commands == ["admin"]
    assert await bot.get_my_commands(BotCommandScopeAllPrivateChats()) == []
    await bot.delete_my_commands(BotCommandScopeChat(chat_id=8))
    assert english.commands == ["new"]
    with pytest.raises(TelegramBadRequest, match="chat not found"):
        await bot.set_my_commands(commands("x"), BotCommandScopeChat(chat_id=9))


async def test_profile_and_chats(server: TelegramServer, mina: Person, bot: Bot) -> None:
    me = await bot.me()
    assert (me.is_bot, me.username) == (True, "madang_test_bot")
    await bot.set_my_description("마당", language_code="ko")
    assert (await bot.get_my_description("ko")).description == "마당"
    assert (await bot.get_my_short_description()).short_description == ""
    assert (await bot.get_my_name()).name == "Madang"
    assert not (await call_raw(server, "setMyShortDescription", short_description="x" * 121))["ok"]
    button = {"type": "web_app", "text": "열기", "web_app": {"url": "https://a.example/"}}
    assert (await call_raw(server, "setChatMenuButton", chat_id=7, menu_button=button))["ok"]
    assert (await call_raw(server, "getChatMenuButton", chat_id=7))["result"] == button
    assert (await call_raw(server, "setChatMenuButton", menu_button={"type": "commands"}))["ok"]
    full = await bot.get_chat(7)
    assert (full.type, full.username, full.active_usernames) == ("private", "mina", ["mina"])
    assert await bot.close()


def test_results_of_another_shape_are_noticed() -> None:
    with pytest.raises(AssertionError, match="not of the shape"):
        check_shape(
            Update,
            {"update_id": 1, "message": {"message_id": 1, "date": 1.5, "chat": {"id": 1, "type": "x"}}},
        )
