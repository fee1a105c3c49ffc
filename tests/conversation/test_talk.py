"""What carries the conversation: state, buttons, updates, many people at once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from engine.domain import Actor
from engine.errors import Broken, Transient
from tests.conversation.conftest import StartHouse
from tests.conversation.recorder import PATIENCE_S, Chatter, House, Recorder, labels

JOURNEY = (
    ("begin", "", "Hello! 👋"),
    ("say", "minji", "Nice to meet you, minji!"),
    ("press", "✨", "What shall I make?"),
    ("press", "Homepage", "🏡 Homepage"),
    ("press", "home", "🏡 home · 1/3"),
    ("say", "Minji & friends", "🏡 home · 2/3"),
    ("press", "Skip", "🏡 home · 3/3"),
    ("say", "sea", "🏡 Shall I make “home”?"),
    ("press", "Make it", "🎉 home is ready"),
    ("press", "Details", "🏡 Minji & friends (home)"),
    ("press", "Logs", "Log of home"),
    ("say", "/delete home", "Delete home?"),
    ("say", "home", "home is in the trash"),
    ("press", "Restore", "home is back"),
    ("say", "/settings", "Settings"),
    ("press", "한국어", "설정"),
    ("say", "home 중지", "home: 멈췄어요"),
    ("say", "/apps", "내가 만든 것"),
    ("press", "⚪ Minji", "🏡 Minji & friends (home)"),
)


async def test_a_restart_between_any_two_steps_loses_nothing(
    start_house: StartHouse, surface: Recorder
) -> None:
    for do, what, title in JOURNEY:
        async with start_house() as house:
            person = Chatter(house.talk, surface)
            if do == "begin":
                await person.begin()
            else:
                await (person.press if do == "press" else person.say)(what)
            await person.until(title)
            await house.settled()
            assert await house.watched() == 0
    assert surface.of("7")[-1].shown.title == JOURNEY[-1][2]


async def test_a_conversation_begun_in_one_place_is_not_seen_in_another(
    house: House, surface: Recorder
) -> None:
    one, other = Chatter(house.talk, surface, "1"), Chatter(house.talk, surface, "2", locale="ko")
    await one.arrive("minji")
    assert (await other.begin()).title == "안녕하세요! 👋"
    assert "이름은 다른 분이 쓰고 있어요" in (await other.say("minji")).text
    await other.say("jisu")
    await one.make_diary()
    assert labels(await other.say("/apps"))[0] == "✨ 새로 만들기"


# --- updates and buttons


async def test_an_update_delivered_twice_acts_once(minji: Chatter, house: House, surface: Recorder) -> None:
    await minji.confirm_diary()
    sight, make = minji.find("Make it")
    await asyncio.gather(*(minji.push(make, sight.ref, update_id="again") for _ in range(5)))
    await minji.until("🎉 diary is ready")
    before = len(surface.sights)
    await minji.push(make, sight.ref, update_id="again")
    await minji.say("/new", update_id="said")
    assert len(surface.sights) == before + 1
    await minji.say("/new", update_id="said")
    assert len(surface.sights) == before + 1
    assert labels(await minji.say("/apps")) == ["🟢 Diary (diary)", "✨ Make something", "Menu"]


async def test_an_update_is_known_after_a_restart(start_house: StartHouse, surface: Recorder) -> None:
    async with start_house() as house:
        await Chatter(house.talk, surface).begin()
        await Chatter(house.talk, surface).say("minji", update_id="17")
    before = len(surface.sights)
    async with start_house() as house:
        await Chatter(house.talk, surface).say("minji", update_id="17")
    assert len(surface.sights) == before


async def test_two_presses_at_once_make_one(minji: Chatter, house: House, surface: Recorder) -> None:
    await minji.confirm_diary()
    sight, make = minji.find("Make it")
    house.hold("minji-diary")
    await asyncio.gather(*(minji.push(make, sight.ref) for _ in range(5)))
    await house.release("minji-diary")
    await minji.until("🎉 diary is ready")
    await house.settled()
    assert [shown.title for shown in surface.messages("7").values()].count("🎉 diary is ready") == 1
    assert labels(await minji.say("/apps")) == ["🟢 Diary (diary)", "✨ Make something", "Menu"]


async def test_a_button_of_another_chat_is_unknown(minji: Chatter, house: House, surface: Recorder) -> None:
    await minji.make_diary()
    await minji.say("diary")
    other = Chatter(house.talk, surface, "8")
    await other.arrive("jisu")
    sight, stop = minji.find("Stop")
    await other.push(stop, sight.ref)
    assert other.last.text.startswith("That button is from earlier.")
    assert (await minji.say("diary")).text.startswith("🟢 Running")


@pytest.mark.parametrize(
    "button_id", ["", ".", "x.0", "x.-1", "x.y", "x" * 64, "x.99999999999999999999", "🌸.0", "\x00"]
)
async def test_a_button_that_never_was(
    minji: Chatter, house: House, surface: Recorder, button_id: str
) -> None:
    await house.talk.press(surface, "7", button_id, message_ref=None, locale="en", update_id=None)
    assert minji.last.text.startswith("That button is from earlier.")


async def test_a_button_pressed_after_the_app_is_gone(
    minji: Chatter, house: House, surface: Recorder
) -> None:
    await minji.make_diary()
    await minji.say("diary")
    sight, stop = minji.find("Stop")
    for _ in range(2):
        await minji.say("/delete diary")
        await minji.say("diary")
        await house.settled()
    assert minji.last.title == "diary is gone for good"
    await minji.push(stop, sight.ref)
    assert minji.last.text == "It is not there any more."
    assert surface.of("7")[-1].ref == sight.ref


# --- people


async def test_waiting_for_approval(start_house: StartHouse, surface: Recorder) -> None:
    async with start_house(registration="approval") as house:
        person = Chatter(house.talk, surface)
        await person.arrive("minji")
        assert person.last.title == "“minji” is noted"
        assert (await person.say("make me a diary")).title == "“minji” is noted"
        accounts, password = house.talk._accounts, house.madang.admin_password
        assert password is not None
        admin = await accounts.log_in(identifier="admin", password=password, via="test")
        admin = await accounts.change_password(
            Actor(admin.account, "test"), current=password, new="a good password"
        )
        await accounts.approve(Actor(admin.account, "test"), "minji")
        assert "You are in now." in (await person.press("Am I in yet?")).title
        await person.make_diary()


async def test_a_hundred_chats_at_once_do_not_wait_for_one_another(
    start_house: StartHouse, surface: Recorder
) -> None:
    async with start_house(max_total_apps=200) as house:
        stuck = Chatter(house.talk, surface, "stuck")
        surface.held["stuck"] = asyncio.Event()
        waiting = asyncio.create_task(stuck.begin())

        async def visit(number: int) -> None:
            person = Chatter(house.talk, surface, str(number))
            await person.arrive(f"person{number}")
            await person.make_diary()
            assert labels(await person.say("/apps"))[0] == "🟢 Diary (diary)"

        async with asyncio.timeout(60), asyncio.TaskGroup() as people:
            for number in range(100):
                people.create_task(visit(number))
        assert not waiting.done()
        surface.held["stuck"].set()
        await waiting
        await house.settled()
        assert await house.watched() == 0


async def test_one_chat_is_handled_in_order(minji: Chatter, surface: Recorder) -> None:
    await asyncio.gather(*(minji.say(f"/app nothing-{n}") for n in range(20)))
    said = [sight.shown.text.splitlines()[0] for sight in surface.of("7")[-20:]]
    assert said == [f"You have nothing called “nothing-{n}”." for n in range(20)]


@pytest.mark.parametrize(
    "text", ["\ud800 diary", "\x00", "x" * 100_000, "🌸" * 10_000, "'; DROP TABLE chats; --"]
)
async def test_strange_texts(minji: Chatter, text: str) -> None:
    assert (await minji.say(text)).rows
    await minji.say("/new homepage")
    await minji.say("home")
    assert (await minji.say(text)).title.startswith("🏡 home · ")
    assert (await minji.say("/menu")).title == "What shall we do?"


async def test_half_a_character_can_be_a_title(minji: Chatter) -> None:
    await minji.say("/new homepage")
    await minji.say("home")
    await minji.say("Minji \ud83c")
    await minji.press("Skip")
    await minji.say("sea")
    await minji.press("Make it")
    await minji.until("🎉 home is ready")
    assert labels(await minji.say("/apps"))[0] == "🟢 Minji ? (home)"


# --- what fails around it


async def test_a_surface_that_fails_loses_no_state(minji: Chatter, surface: Recorder) -> None:
    await minji.say("/new homepage")
    surface.broken = lambda _: True
    with pytest.raises(RuntimeError):
        await minji.say("home")
    surface.broken = lambda _: False
    assert (await minji.begin()).title == "🏡 home · 1/3"


async def test_somebody_who_cannot_be_reached(minji: Chatter, surface: Recorder) -> None:
    surface.unreachable.add("7")
    await minji.say("/new homepage")
    await minji.say("home")
    surface.unreachable.clear()
    assert (await minji.say("Minji")).title == "🏡 home · 2/3"


@pytest.mark.parametrize("error", [Broken("disk_full"), Transient()])
async def test_what_cannot_be_kept_is_said_with_a_way_on(
    minji: Chatter,
    house: House,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    async def fails(*_: Any) -> str:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(house.talk._conversations, "save", fails)
        shown = await minji.say("/new")
    assert shown.title == "That did not work"
    reference = shown.text.partition("Reference: ")[2]
    assert reference
    assert reference in caplog.text
    assert (await minji.press("Menu")).title == "What shall we do?"


async def test_a_screen_that_is_never_shown_does_not_keep_the_house_from_closing(
    start_house: StartHouse, surface: Recorder
) -> None:
    async with asyncio.timeout(PATIENCE_S), start_house() as house:
        person = Chatter(house.talk, surface)
        await person.arrive()
        await person.confirm_diary()
        house.hold("minji-diary")
        await person.press("Make it")
        surface.held["7"] = (
            asyncio.Event()
        )  # the progress can be shown nowhere, and the house closes all the same
