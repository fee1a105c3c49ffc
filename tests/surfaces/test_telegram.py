"""The Telegram surface on the wire: a Bot API as strict as the real one on one side, a scripted talk on the other."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, TypeVar, cast

import aiohttp
import pytest
from aiohttp import web

from bot.conversation.model import ProgressStep
from bot.talk import Shown, ShownButton, Surface, Talk
from bot.telegram import TelegramSurface
from bot.telegram_outbox import Delivery, Outbox, Timing
from engine.errors import Broken, Transient
from tests.far_ends.telegram import Person, TelegramServer
from tests.far_ends.telegram_updates import ANOTHER_POLLER, Queued

T = TypeVar("T")

EDIT_EVERY_S = 0.2
FAST = Timing(edit_every_s=EDIT_EVERY_S, retry_first_s=0.01, retry_most_s=0.05, poll_s=20, grace_s=2.0)
HASTY = replace(FAST, grace_s=0.05)
PATIENT_S = 10.0


@dataclass(frozen=True)
class Heard:
    """One call of the talk."""

    kind: str
    address: str
    content: str
    locale: str
    update_id: str | None
    message_ref: str | None = None


class ScriptedTalk:
    """Records what it is told, and does what the test has given it as `then`."""

    def __init__(self) -> None:
        self.heard: list[Heard] = []
        self.then: Callable[[Surface, Heard], Awaitable[Any]] | None = None
        self._more = asyncio.Condition()

    async def begin(
        self, surface: Surface, address: str, *, locale: str, update_id: str | None = None
    ) -> None:
        await self._take(surface, Heard("begin", address, "", locale, update_id))

    async def say(
        self, surface: Surface, address: str, text: str, *, locale: str, update_id: str | None = None
    ) -> None:
        await self._take(surface, Heard("say", address, text, locale, update_id))

    async def press(
        self,
        surface: Surface,
        address: str,
        button_id: str,
        *,
        message_ref: str | None,
        locale: str,
        update_id: str | None = None,
    ) -> None:
        await self._take(surface, Heard("press", address, button_id, locale, update_id, message_ref))

    async def wait_for(self, count: int) -> list[Heard]:
        """What was heard, once it is at least so much."""
        async with asyncio.timeout(PATIENT_S), self._more:
            await self._more.wait_for(lambda: len(self.heard) >= count)
        return self.heard

    async def _take(self, surface: Surface, heard: Heard) -> None:
        self.heard.append(heard)
        async with self._more:
            self._more.notify_all()
        if self.then is not None:
            await self.then(surface, heard)


def shown(
    text: str, *rows: tuple[ShownButton, ...], code: str = "", progress: tuple[ProgressStep, ...] = ()
) -> Shown:
    return Shown(text, "", code, rows, None, progress, None, "en")


def button(label: str, button_id: str = "screen.0") -> ShownButton:
    return ShownButton(label, button_id, None, "default")


@contextlib.asynccontextmanager
async def running(
    server: TelegramServer, talk: ScriptedTalk, *, timing: Timing = FAST, token: str = ""
) -> AsyncIterator[TelegramSurface]:
    surface = TelegramSurface(token or server.token, server.base_url, cast("Talk", talk), timing=timing)
    async with serving(surface):
        yield surface


@contextlib.asynccontextmanager
async def serving(surface: TelegramSurface) -> AsyncIterator[None]:
    task = asyncio.create_task(surface.run())
    await asyncio.sleep(0)  # a task that is cancelled before it has begun cleans nothing up
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled(), task.exception()


async def soon(work: Coroutine[Any, Any, T]) -> T:
    return await asyncio.wait_for(work, PATIENT_S)


async def logged(caplog: pytest.LogCaptureFixture, words: str) -> None:
    """Waits for a log line with these words."""
    found = asyncio.Event()

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if words in record.getMessage():
                found.set()

    listener = Listener()
    logging.getLogger("bot").addHandler(listener)
    try:
        if words not in caplog.text:
            await soon(found.wait())
    finally:
        logging.getLogger("bot").removeHandler(listener)


@pytest.fixture
async def server() -> AsyncIterator[TelegramServer]:
    async with await TelegramServer.start(local_mode=True) as started:
        yield started


@pytest.fixture
def talk() -> ScriptedTalk:
    return ScriptedTalk()


@pytest.fixture
async def surface(server: TelegramServer, talk: ScriptedTalk) -> AsyncIterator[TelegramSurface]:
    async with running(server, talk) as started:
        await server.wait_for_poller()
        yield started


@pytest.fixture
def mina(server: TelegramServer) -> Person:
    return server.person(7, first_name="Mina", language_code="ko", met=True)


# --- what comes in


async def test_start_begins_and_greets(
    surface: TelegramSurface, server: TelegramServer, talk: ScriptedTalk
) -> None:
    async def greet(surface: Surface, heard: Heard) -> None:
        await surface.show(heard.address, shown("안녕하세요 <b>", (button("시작", "abcdefghijkl.0"),)), None)

    talk.then = greet
    mina = server.person(language_code="ko-KR")
    await mina.send("/start")
    greeting = await mina.wait_for("안녕하세요 <b>")
    assert greeting.buttons == [["시작"]]
    await mina.send("/start campaign_7")
    first, second = await talk.wait_for(2)
    assert (first.kind, first.address, first.locale) == ("begin", str(mina.id), "ko")
    assert (second.kind, second.content) == ("begin", "")
    assert first.update_id != second.update_id


async def test_words_reach_the_talk(
    surface: TelegramSurface, server: TelegramServer, talk: ScriptedTalk
) -> None:
    person = server.person(language_code="de")
    await person.send("diary 시작 <&>")
    await person.send("/new@madang_test_bot diary")
    await person.send("/new diary")
    heard = await talk.wait_for(3)
    assert [one.content for one in heard] == ["diary 시작 <&>", "/new diary", "/new diary"]
    assert {one.kind for one in heard} == {"say"}
    assert {one.locale for one in heard} == {"en"}


async def test_a_press_is_answered_before_its_work_is_done(
    surface: TelegramSurface, talk: ScriptedTalk, mina: Person
) -> None:
    may_go_on = asyncio.Event()

    async def work(surface: Surface, heard: Heard) -> None:
        await may_go_on.wait()
        await surface.show(heard.address, shown("made"), heard.message_ref)

    talk.then = work
    ref = await surface.show("7", shown("Shall I?", (button("Make it", "abcdefghijkl.3"),)), None)
    first, second = await mina.press("Make it"), await mina.press("Make it")
    assert first and second
    assert await first.answer() is None
    assert await second.answer() is None  # though the first is still being worked on
    assert [one.content for one in talk.heard] == ["abcdefghijkl.3"]
    may_go_on.set()
    message = await mina.wait_for("made")
    assert str(message.id) == ref
    heard = await talk.wait_for(2)
    assert heard[0] == Heard("press", "7", "abcdefghijkl.3", "ko", str(first.update_id), ref)


async def test_an_update_given_twice_keeps_its_id(
    surface: TelegramSurface, server: TelegramServer, talk: ScriptedTalk, mina: Person
) -> None:
    """So that the talk can act on it once."""
    await mina.send("hello")
    (first,) = await talk.wait_for(1)
    assert first.update_id is not None
    await server.redeliver(int(first.update_id))
    again = (await talk.wait_for(2))[1]
    assert again == first


async def test_a_chat_is_served_in_order_and_does_not_wait_for_another(
    surface: TelegramSurface, server: TelegramServer, talk: ScriptedTalk, mina: Person
) -> None:
    may_go_on = asyncio.Event()

    async def stall_mina(surface: Surface, heard: Heard) -> None:
        if heard.address == "7":
            await may_go_on.wait()

    talk.then = stall_mina
    other = server.person()
    for number in range(5):
        await mina.send(f"mina {number}")
    await other.send("other")
    heard = await talk.wait_for(2)
    assert [one.content for one in heard] == ["mina 0", "other"]
    may_go_on.set()
    heard = await talk.wait_for(6)
    assert [one.content for one in heard if one.address == "7"] == [f"mina {number}" for number in range(5)]


async def test_things_that_are_not_words(
    surface: TelegramSurface, server: TelegramServer, talk: ScriptedTalk, mina: Person
) -> None:
    await mina.send_photo(b"\x89PNG")
    await mina.wait_for("/menu")
    await mina.send_document("index.html", b"<p>")
    said = await mina.send("hello")
    await mina.edit(said, "goodbye")
    heard = await talk.wait_for(1)
    assert [one.content for one in heard] == ["hello"]
    assert len(mina.bot_messages) == 1  # an album, which comes as many messages, gets one answer


async def test_only_what_is_handled_is_asked_for(surface: TelegramSurface, server: TelegramServer) -> None:
    assert server.updates.allowed == {"message", "callback_query", "my_chat_member"}


async def test_an_update_of_an_unknown_shape_holds_up_nothing(
    surface: TelegramSurface,
    server: TelegramServer,
    talk: ScriptedTalk,
    mina: Person,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "tests.far_ends.telegram.check_shape", lambda *_: None
    )  # it sends nothing strange itself
    strange: dict[str, Any] = {"update_id": 600_000_000, "message": {"message_id": "from the future"}}
    server.updates.repeat(Queued(600_000_000, strange, 0))
    await mina.send("hello")
    assert (await talk.wait_for(1))[0].content == "hello"
    assert "update 600000000 is of an unknown shape" in caplog.text


async def test_a_bug_in_one_input_is_logged_and_the_chat_goes_on(
    surface: TelegramSurface, talk: ScriptedTalk, mina: Person, caplog: pytest.LogCaptureFixture
) -> None:
    async def stumble(surface: Surface, heard: Heard) -> None:
        if heard.content == "one":
            raise ZeroDivisionError

    talk.then = stumble
    await mina.send("one")
    await mina.send("two")
    await talk.wait_for(2)
    assert [
        (r.levelname, r.exc_info and r.exc_info[0]) for r in caplog.records if "bug" in r.getMessage()
    ] == [("ERROR", ZeroDivisionError)]


async def test_a_group_is_told_once_where_it_is_done(
    surface: TelegramSurface, server: TelegramServer, talk: ScriptedTalk, mina: Person
) -> None:
    group = server.chat("neighbours", [mina], privacy=False)
    await mina.send("has anybody seen my cat?", chat=group)
    await mina.send("/start@another_bot", chat=group)
    await mina.send("/new diary", chat=group)
    notice = await group.wait_for("")
    assert notice.keyboard[0][0].url == "https://t.me/madang_test_bot?start=hi"
    await mina.send("@Madang_Test_Bot hello?", chat=group)
    await mina.send("/start", chat=group)
    await mina.send("in private")
    assert [one.content for one in await talk.wait_for(1)] == ["in private"]
    assert len(group.bot_messages) == 1


async def test_a_press_in_a_group_is_answered_and_does_nothing(
    surface: TelegramSurface, server: TelegramServer, talk: ScriptedTalk, mina: Person
) -> None:
    group = server.chat("neighbours", [mina])
    await surface.show(str(group.id), shown("look", (button("Press"),)), None)
    press = await mina.press("Press", chat=group)
    assert press
    assert await press.answer() is None
    await mina.send("in private")
    assert [one.content for one in await talk.wait_for(1)] == ["in private"]


# --- what is shown


async def test_many_redraws_become_an_edit_a_second_and_the_newest_arrives(
    surface: TelegramSurface, server: TelegramServer, mina: Person
) -> None:
    ref = await surface.show("7", shown("step 0"), None)
    for number in range(1, 40):
        step = ProgressStep(f"step {number}", "now")
        assert await surface.show("7", shown(f"step {number}", progress=(step,)), ref) == ref
        if number % 10 == 0:
            await mina.wait_for(f"step {number}")
    await mina.wait_for("step 39")
    edits = server.called("editMessageText")
    assert len(edits) <= 6
    assert all((b.at - a.at).total_seconds() > EDIT_EVERY_S * 0.9 for a, b in pairwise(edits))
    assert len(mina.bot_messages) == 1


async def test_a_waiting_redraw_is_overtaken_by_a_new_message(
    surface: TelegramSurface, server: TelegramServer, mina: Person
) -> None:
    ref = await surface.show("7", shown("progress 0"), None)
    await surface.show("7", shown("progress 1"), ref)
    await mina.wait_for("progress 1")
    await surface.show("7", shown("progress 2"), ref)
    await surface.show("7", shown("something new"), None)
    assert "progress 1" in mina.bot_messages[0].text
    await mina.wait_for("progress 2")


async def test_telegram_is_waited_for_as_long_as_it_says(
    surface: TelegramSurface, server: TelegramServer, mina: Person
) -> None:
    server.throttle_next("sendMessage", 1)
    ref = await soon(surface.show("7", shown("patience"), None))
    refused, sent = server.called("sendMessage")
    assert (refused.status, sent.status) == (429, 200)
    assert (sent.at - refused.at).total_seconds() >= 1.0

    server.throttle_next("editMessageText", 1)
    await surface.show("7", shown("older"), ref)
    await server.wait_for_call("editMessageText", lambda call: call.status == 429)
    await surface.show("7", shown("old"), ref)
    await surface.show("7", shown("newest"), ref)
    await mina.wait_for("newest")
    refused, sent = server.called("editMessageText")
    assert (sent.at - refused.at).total_seconds() >= 1.0


async def test_what_is_not_modified_is_as_it_should_be(
    surface: TelegramSurface, server: TelegramServer, mina: Person, caplog: pytest.LogCaptureFixture
) -> None:
    ref = await surface.show("7", shown("the same"), None)
    await surface.show("7", shown("the same"), ref)
    call = await server.wait_for_call("editMessageText")
    assert "message is not modified" in call.description
    await surface.show("7", shown("different"), ref)
    await mina.wait_for("different")
    assert len(mina.bot_messages) == 1
    assert not caplog.records


@pytest.mark.parametrize("description", ["message to edit not found", "message can't be edited"])
async def test_a_message_that_is_gone_is_sent_anew_and_redrawn_there(
    surface: TelegramSurface, server: TelegramServer, mina: Person, description: str
) -> None:
    ref = await surface.show("7", shown("first"), None)
    mina.delete(mina.bot_messages[0])
    server.fail_next("editMessageText", 400, f"Bad Request: {description}")
    await surface.show("7", shown("second"), ref)
    second = await mina.wait_for("second")
    assert str(second.id) != ref
    await surface.show("7", shown("third"), ref)
    third = await mina.wait_for("third")
    assert third.id == second.id
    assert await surface.show("7", shown("fourth"), ref) == str(second.id)


async def test_whoever_blocks_the_bot_is_left_alone_until_they_come_back(
    surface: TelegramSurface, server: TelegramServer, talk: ScriptedTalk, mina: Person
) -> None:
    ref = await surface.show("7", shown("hello"), None)
    mina.block()
    assert await soon(surface.show("7", shown("are you there?"), None)) is None
    calls = len(server.calls)
    assert await surface.show("7", shown("still?"), ref) is None
    assert await surface.show("7", shown("still?"), None) is None
    assert not [call for call in server.calls[calls:] if call.params.get("chat_id")]

    mina.unblock()
    await mina.send("/start")
    await talk.wait_for(1)
    assert await soon(surface.show("7", shown("welcome back"), None)) is not None


async def test_a_block_is_heard_of_before_anything_is_sent(
    surface: TelegramSurface, server: TelegramServer, mina: Person, talk: ScriptedTalk
) -> None:
    other = server.person()
    mina.block()
    await other.send("a later update")
    await talk.wait_for(1)
    assert await surface.show("7", shown("hello"), None) is None
    assert not server.called("sendMessage")


async def test_a_chat_that_was_never_opened_cannot_be_reached(surface: TelegramSurface) -> None:
    assert await soon(surface.show("999", shown("hello"), None)) is None


async def test_a_refused_link_stands_in_the_text(
    surface: TelegramSurface, server: TelegramServer, mina: Person
) -> None:
    server.fail_next("sendMessage", 400, "Bad Request: BUTTON_URL_INVALID")
    link = ShownButton("Open", None, "https://diary.example.com", "primary")
    assert await soon(surface.show("7", shown("ready", (link,)), None)) is not None
    assert mina.bot_messages[0].text == "ready\n\nOpen: https://diary.example.com"


async def test_local_addresses_and_long_logs_are_taken(surface: TelegramSurface, mina: Person) -> None:
    link = ShownButton("Open", None, "http://minji-diary.localhost:8080/?a=1&b=2", "primary")
    log = "\n".join(f"<{number}> & 🌱" for number in range(3000))
    assert await soon(surface.show("7", shown("ready", (link, button("Menu")), code=log), None)) is not None
    message = mina.bot_messages[0]
    assert message.text.endswith("<2999> & 🌱\n\nOpen: http://minji-diary.localhost:8080/?a=1&b=2")
    assert message.buttons == [["Menu"]]


async def test_a_message_that_telegram_will_never_take_is_reported(
    surface: TelegramSurface, server: TelegramServer, mina: Person, caplog: pytest.LogCaptureFixture
) -> None:
    server.fail_next("sendMessage", 400, "Bad Request: something new")
    assert await soon(surface.show("7", shown("hello"), None)) is None
    assert "something new" in caplog.text
    assert await soon(surface.show("7", shown("hello"), None)) is not None


async def test_many_chats_do_not_slow_one_another(
    server: TelegramServer, talk: ScriptedTalk, mina: Person
) -> None:
    people = [server.person(met=True) for _ in range(20)]
    server.throttle_next("sendMessage", 600)
    async with running(server, talk, timing=HASTY) as surface:
        stuck = asyncio.create_task(surface.show("7", shown("stuck"), None))
        await server.wait_for_call("sendMessage", lambda call: call.status == 429)
        async with asyncio.timeout(1.0), asyncio.TaskGroup() as group:
            for person in people:
                group.create_task(surface.show(str(person.id), shown("hello"), None))
        assert all(person.bot_messages for person in people)
        assert not stuck.done()
        stuck.cancel()


async def test_more_than_telegram_bears_in_all_is_spread(server: TelegramServer, talk: ScriptedTalk) -> None:
    people = [server.person(met=True) for _ in range(30)]
    timing = Timing(overall_per_s=20, poll_s=20)
    async with running(server, talk, timing=timing) as surface, asyncio.TaskGroup() as group:
        for person in people:
            group.create_task(surface.show(str(person.id), shown("hello"), None))
    sent = [call.at for call in server.called("sendMessage")]
    assert (sent[19] - sent[0]).total_seconds() < 0.4
    assert (sent[29] - sent[0]).total_seconds() > 0.4


# --- when Telegram is in trouble


@pytest.mark.parametrize("kind", ["bad_gateway", "page", "dropped"])
async def test_what_was_owed_arrives_in_order_after_an_outage(
    surface: TelegramSurface,
    server: TelegramServer,
    talk: ScriptedTalk,
    mina: Person,
    kind: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    other = server.person(met=True)
    ref = await surface.show("7", shown("progress 0"), None)
    with server.outage(kind):
        await surface.show("7", shown("progress 1"), ref)
        owed = [asyncio.create_task(surface.show("7", shown(f"owed {number}"), None)) for number in range(3)]
        owed.append(asyncio.create_task(surface.show(str(other.id), shown("owed to another"), None)))
        await server.wait_for_call("editMessageText", lambda call: call.status == 502)
        await surface.show("7", shown("progress 2"), ref)
        await logged(caplog, "Telegram cannot be reached")
    async with asyncio.timeout(PATIENT_S):
        assert all([await one for one in owed])
    await mina.wait_for("progress 2")
    assert [message.text for message in mina.bot_messages] == ["progress 2", "owed 0", "owed 1", "owed 2"]
    await mina.send("I am still here")
    assert [one.content for one in await talk.wait_for(1)] == ["I am still here"]
    assert "Telegram answers again" in caplog.text


async def test_recovery_is_not_slept_through() -> None:
    """A chat that has come to wait long tries at once when the platform is seen to be back."""
    tried = asyncio.Queue[str]()
    outcomes = [Delivery("down"), Delivery("arrived", "1")]

    async def deliver(address: str, ref: str | None, content: Shown) -> Delivery:
        tried.put_nowait(content.text)
        return outcomes.pop(0)

    outbox = Outbox(deliver, Timing(retry_first_s=600.0, retry_most_s=600.0))
    owed = asyncio.create_task(outbox.show("7", shown("owed"), None))
    assert await soon(tried.get()) == "owed"
    outbox.wake()
    assert await asyncio.wait_for(owed, PATIENT_S) == "1"
    await outbox.close()


async def test_a_chat_that_is_owed_too_much_loses_the_oldest(caplog: pytest.LogCaptureFixture) -> None:
    async def deliver(address: str, ref: str | None, content: Shown) -> Delivery:
        return Delivery("busy", after_s=600.0)

    outbox = Outbox(deliver, Timing(grace_s=0.0))
    owed = [asyncio.create_task(outbox.show("7", shown(str(number)), None)) for number in range(51)]
    assert await asyncio.wait_for(owed[0], PATIENT_S) is None
    assert not any(task.done() for task in owed[1:])
    assert "owed too much" in caplog.text
    for task in owed:
        task.cancel()
    await outbox.close()


async def test_another_poller_is_told_to_the_operator(
    server: TelegramServer, talk: ScriptedTalk, mina: Person, caplog: pytest.LogCaptureFixture
) -> None:
    server.fail_next("getUpdates", 409, ANOTHER_POLLER, times=3)
    async with running(server, talk):
        await mina.send("hello")
        await talk.wait_for(1)
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 2  # once, however often it happened; and that it is over
    assert "another program takes this bot's messages" in warnings[0]
    assert "answers again" in warnings[1]


async def test_a_webhook_is_removed_and_what_waited_for_it_comes(
    server: TelegramServer, talk: ScriptedTalk, mina: Person
) -> None:
    async with aiohttp.ClientSession() as session:
        url = f"{server.base_url}/bot{server.token}/setWebhook"
        async with session.post(url, json={"url": "http://127.0.0.1:1/hook"}) as response:
            assert response.status == 200
    await mina.send("waiting", wait=False)
    async with running(server, talk):
        assert [one.content for one in await talk.wait_for(1)] == ["waiting"]
    (call,) = server.called("deleteWebhook")
    assert call.params == {"drop_pending_updates": "false"}


async def test_polling_honours_retry_after(server: TelegramServer, talk: ScriptedTalk, mina: Person) -> None:
    server.throttle_next("getUpdates", 1)
    async with running(server, talk):
        await mina.send("hello")
        await talk.wait_for(1)
    refused, taken = server.called("getUpdates")[:2]
    assert refused.status == 429
    assert (taken.at - refused.at).total_seconds() >= 1.0


async def test_a_refused_token_is_told_and_kept_trying(
    server: TelegramServer, talk: ScriptedTalk, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = server.token[:-1] + "X"
    async with running(server, talk, token=wrong) as surface:
        with pytest.raises(Broken) as caught:
            await surface.identify()
        assert caught.value.code == "bad_setting"
        await logged(caplog, "Telegram refuses the token")
        asked = len(server.called("getMe"))
        await server.changes.wait_until(lambda: len(server.called("getMe")) > asked + 1, PATIENT_S)
    assert len([record for record in caplog.records if "refuses the token" in record.getMessage()]) == 1
    assert wrong not in caplog.text


def test_what_cannot_be_a_token_is_refused_at_once(server: TelegramServer, talk: ScriptedTalk) -> None:
    with pytest.raises(Broken) as caught:
        TelegramSurface("no-token", server.base_url, cast("Talk", talk))
    assert caught.value.code == "bad_setting"
    assert "no-token" not in str(caught.value)


async def test_identify(surface: TelegramSurface, server: TelegramServer) -> None:
    assert await surface.identify() == "madang_test_bot"
    assert surface.username == "madang_test_bot"
    assert len(server.called("getMe")) == 1


async def test_identify_while_telegram_is_down(server: TelegramServer, talk: ScriptedTalk) -> None:
    async with running(server, talk) as surface:
        with server.outage("page"), pytest.raises(Transient):
            await surface.identify()
        await server.wait_for_poller()
        assert await surface.identify() == "madang_test_bot"


@pytest.fixture
async def redirecting() -> AsyncIterator[str]:
    """A server whose errors aiohttp describes with the whole address."""

    async def around(request: web.Request) -> web.StreamResponse:
        raise web.HTTPTemporaryRedirect(str(request.rel_url))

    app = web.Application()
    app.router.add_route("*", "/{anything:.*}", around)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.mark.parametrize(
    "base_url", ["redirecting", "http://127.0.0.1:1", "http://no.such.host.invalid", "http://[bad"]
)
async def test_the_token_is_in_no_log_and_no_error(
    talk: ScriptedTalk, redirecting: str, base_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    logging.getLogger("asyncio").setLevel(logging.DEBUG)
    secret = "AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"
    url = redirecting if base_url == "redirecting" else base_url
    surface = TelegramSurface(f"123456789:{secret}", url, cast("Talk", talk), timing=HASTY)
    async with serving(surface):
        owed = asyncio.create_task(surface.show("7", shown("hello"), None))
        with pytest.raises(Transient) as caught:
            await surface.identify()
        error: BaseException | None = caught.value
        while error is not None:
            assert secret not in f"{error!r} {error}"
            error = error.__cause__ or error.__context__
        await logged(caplog, "Telegram cannot be reached")
        owed.cancel()
    assert secret not in caplog.text


# --- menus, end


async def test_menus_are_set_by_language_and_only_if_they_differ(
    server: TelegramServer, talk: ScriptedTalk, mina: Person
) -> None:
    english = server.person(language_code="fr")
    async with running(server, talk):
        await server.wait_for_call("setMyCommands", lambda call: call.params.get("language_code") == "ko")
    assert mina.commands == english.commands == ["new", "apps", "menu", "help", "settings", "cancel"]
    before = len(server.calls)
    async with running(server, talk):
        await server.changes.wait_until(lambda: len(server.called("getMyCommands")) == 4, PATIENT_S)
        await server.wait_for_poller()
    assert "setMyCommands" not in {call.method for call in server.calls[before:]}


async def test_a_slow_menu_does_not_keep_messages_waiting(
    server: TelegramServer, talk: ScriptedTalk, mina: Person
) -> None:
    server.throttle_next("setMyCommands", 3600)
    async with running(server, talk):
        await server.wait_for_call("setMyCommands")
        await mina.send("hello")
        await talk.wait_for(1)


async def test_the_last_redraw_arrives_before_the_end(
    server: TelegramServer, talk: ScriptedTalk, mina: Person
) -> None:
    async with running(server, talk) as surface:
        ref = await surface.show("7", shown("progress 0"), None)
        await surface.show("7", shown("progress 1"), ref)
        await mina.wait_for("progress 1")
        await surface.show("7", shown("the end"), ref)
    assert [message.text for message in mina.bot_messages] == ["the end"]


async def test_nothing_is_taken_for_shown_after_the_end(
    server: TelegramServer, talk: ScriptedTalk, mina: Person
) -> None:
    async with running(server, talk) as surface:
        ref = await surface.show("7", shown("hello"), None)
    calls = len(server.calls)
    for replaces in (ref, None):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(surface.show("7", shown("too late"), replaces), 0.01)
    assert len(server.calls) == calls
