"""The message that shows an operation: step by step, to its end, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from engine.domain import Event
from engine.errors import Transient
from runtime.memory import Behaviour
from tests.conversation.conftest import StartHouse
from tests.conversation.recorder import Chatter, House, Recorder, by_message, labels, reached


async def test_progress_comes_in_order_and_ends_in_the_end(
    minji: Chatter, house: House, surface: Recorder
) -> None:
    end = await minji.make_diary()
    await house.settled()
    (story,) = [shown for ref, shown in by_message(surface.of("7")).items() if ref == end.ref]
    making = [shown for shown in story if shown.progress]
    assert [shown.title for shown in making] == ["Making diary …"] * len(making)
    counts = [reached(shown.progress) for shown in making]
    assert counts == sorted(counts)
    assert counts[-1] == len(making[-1].progress)
    assert story[-1].title == "🎉 diary is ready"
    assert not story[-1].progress
    assert all(not shown.rows for shown in making)
    assert await house.watched() == 0


async def test_a_failure_is_told_where_the_progress_was(minji: Chatter, house: House) -> None:
    house.madang.runtime.behave("paas-app-minji-diary", Behaviour.CRASHES)
    await minji.confirm_diary()
    await minji.press("Make it")
    end = await minji.until("diary: that did not work")
    assert end.redrawn
    assert "the program ends at once" in end.shown.code
    house.madang.runtime.behave("paas-app-minji-diary", Behaviour.ANSWERS)
    await minji.press("Try again")
    await minji.until("🎉 diary is ready")


async def test_time_goes_by_in_the_message(
    minji: Chatter, house: House, surface: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.talk._REDRAW_S", 0.01)
    house.hold("minji-diary")
    await minji.confirm_diary()
    await minji.press("Make it")
    count = len(surface.sights)
    await surface.until(lambda: len(surface.sights) > count + 8)
    shown = [sight.shown.elapsed_s or 0 for sight in surface.of("7")[count:]]
    assert shown == sorted(shown)
    await house.release("minji-diary")
    await minji.until("🎉 diary is ready")


async def test_a_restart_during_the_operation(start_house: StartHouse, surface: Recorder) -> None:
    async with start_house() as house:
        person = Chatter(house.talk, surface)
        await person.arrive()
        await person.confirm_diary()
        house.hold("minji-diary")
        await person.press("Make it")
        ref = surface.of("7")[-1].ref
        assert await house.watched() == 1
    async with start_house() as house:
        await house.talk.resume(surface)
        end = await Chatter(house.talk, surface).until("🎉 diary is ready")
        await house.settled()
        assert end.ref == ref
        assert await house.watched() == 0
    before = len(surface.sights)
    async with start_house() as house:
        await house.talk.resume(surface)
        assert (await Chatter(house.talk, surface).say("/menu")).text == "🟢 diary"
    assert len(surface.sights) == before + 1


async def test_resumed_twice_follows_once(start_house: StartHouse, surface: Recorder) -> None:
    async with start_house() as house:
        person = Chatter(house.talk, surface)
        await person.arrive()
        house.hold("minji-diary")
        await person.confirm_diary()
        await person.press("Make it")
    async with start_house() as house:
        await house.talk.resume(surface)
        await house.talk.resume(surface)
        await house.settled()
    assert [sight.shown.title for sight in surface.sights].count("🎉 diary is ready") == 1


async def test_the_person_goes_on_to_other_things(minji: Chatter, house: House, surface: Recorder) -> None:
    house.hold("minji-diary")
    await minji.confirm_diary()
    await minji.press("Make it")
    ref = surface.of("7")[-1].ref
    await minji.say("/new homepage")
    await minji.say("home")
    await house.release("minji-diary")
    end = await minji.until("🎉 diary is ready")
    assert end.ref == ref
    assert (await minji.say("Minji")).title == "🏡 home · 2/3"


async def test_opening_the_chat_anew_shows_the_progress_and_both_messages_end(
    minji: Chatter, house: House, surface: Recorder
) -> None:
    house.hold("minji-diary")
    await minji.confirm_diary()
    await minji.press("Make it")
    first = surface.of("7")[-1].ref
    shown = await minji.begin()
    assert shown.title == "Making diary …"
    assert reached(shown.progress) > 0
    second = surface.of("7")[-1].ref
    assert second != first
    await house.release("minji-diary")
    await house.settled()
    ends = {ref: shown.title for ref, shown in surface.messages("7").items() if ref in (first, second)}
    assert ends == {first: "🎉 diary is ready", second: "🎉 diary is ready"}


async def test_two_changes_from_one_card_get_a_message_each(
    minji: Chatter, house: House, surface: Recorder
) -> None:
    await minji.make_diary()
    await minji.say("diary")
    sight, stop = minji.find("Stop")
    _, restart = minji.find("Restart")
    house.hold("minji-diary")
    await minji.push(restart, sight.ref)
    await minji.push(stop, sight.ref)
    other = next(seen.ref for seen in reversed(surface.of("7")) if seen.ref != sight.ref)
    await house.release("minji-diary")
    await house.settled()
    messages = surface.messages("7")
    assert messages[sight.ref].title == "diary has restarted"
    assert messages[other].title == "diary is stopped"


async def test_a_press_on_a_message_that_shows_progress_leaves_it_alone(
    minji: Chatter, house: House, surface: Recorder
) -> None:
    await minji.make_diary()
    await minji.say("diary")
    sight, restart = minji.find("Restart")
    _, things = minji.find("My things")
    house.hold("minji-diary")
    await minji.push(restart, sight.ref)
    await minji.push(things, sight.ref)
    assert surface.of("7")[-1].ref != sight.ref
    assert surface.of("7")[-1].shown.title == "My things"
    await house.release("minji-diary")
    await house.settled()
    assert surface.messages("7")[sight.ref].title == "diary has restarted"
    await minji.press("Menu")
    assert surface.messages("7")[sight.ref].title == "What shall we do?"


async def test_the_same_change_asked_for_twice_ends_in_both_messages(
    minji: Chatter, house: House, surface: Recorder
) -> None:
    await minji.make_diary()
    house.hold("minji-diary")
    await minji.say("restart diary")
    await minji.say("stop diary")
    await minji.say("stop diary")
    await house.release("minji-diary")
    await house.settled()
    titles = [shown.title for shown in surface.messages("7").values()]
    assert titles.count("diary is stopped") == 2
    assert not [shown for shown in surface.messages("7").values() if shown.progress]


# --- a surface that fails


async def test_the_progress_cannot_be_shown_at_first(minji: Chatter, house: House, surface: Recorder) -> None:
    await minji.confirm_diary()
    surface.unreachable.add("7")
    house.hold("minji-diary")
    await minji.say("yes")
    before = len(surface.sights)
    surface.unreachable.clear()
    await house.release("minji-diary")
    await minji.until("🎉 diary is ready")
    await house.settled()
    assert len({sight.ref for sight in surface.sights[before:]}) == 1


async def test_the_progress_meets_a_bug_of_the_surface(
    minji: Chatter, house: House, surface: Recorder, noise: list[str]
) -> None:
    noise.append("bot.talk")
    await minji.confirm_diary()
    surface.broken = lambda shown: bool(shown.progress)
    with pytest.raises(RuntimeError):
        await minji.say("yes")
    await house.settled()
    assert await house.watched() == 1
    surface.broken = lambda _: False
    await house.talk.resume(surface)
    await minji.until("🎉 diary is ready")
    await house.settled()
    assert await house.watched() == 0


async def test_the_end_meets_a_bug_of_the_surface(
    minji: Chatter, house: House, surface: Recorder, noise: list[str]
) -> None:
    noise.append("bot.talk")
    await minji.confirm_diary()
    surface.broken = lambda shown: shown.title.startswith("🎉")
    await minji.press("Make it")
    await house.settled()
    surface.broken = lambda _: False
    assert (await minji.begin()).title == "Hello, minji!"
    await house.talk.resume(surface)
    await minji.until("🎉 diary is ready")
    await house.settled()
    assert await house.watched() == 0


async def test_the_end_reaches_nobody(minji: Chatter, house: House, surface: Recorder) -> None:
    house.hold("minji-diary")
    await minji.confirm_diary()
    await minji.press("Make it")
    surface.unreachable.add("7")
    await house.release("minji-diary")
    await house.settled()
    surface.unreachable.clear()
    assert (await minji.begin()).title == "Hello, minji!"
    assert await house.watched() == 0


async def test_the_database_is_busy_for_a_moment(
    minji: Chatter, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    events, failures = house.talk._apps.events, [Transient(retry_after_s=0.01), Transient(retry_after_s=0.01)]

    async def sometimes(*args: Any, **more: Any) -> AsyncIterator[Event]:
        if failures:
            raise failures.pop()
        return await events(*args, **more)

    monkeypatch.setattr(house.talk._apps, "events", sometimes)
    await minji.make_diary()
    assert not failures


async def test_a_message_that_was_replaced_is_followed(
    minji: Chatter, house: House, surface: Recorder
) -> None:
    """A surface may say that another message has taken the place of one that is gone."""
    show, moved = surface.show, asyncio.Event()

    async def show_anew(address: str, shown: Any, replaces: str | None) -> str | None:
        if replaces is not None and shown.progress and not moved.is_set():
            moved.set()
            return await show(address, shown, None)
        return await show(address, shown, replaces)

    surface.show = show_anew  # type: ignore[method-assign]
    await minji.confirm_diary()
    await minji.say("yes")
    await minji.until("🎉 diary is ready")
    await house.settled()
    ends = [ref for ref, shown in surface.messages("7").items() if shown.title == "🎉 diary is ready"]
    assert len(ends) == 1
    assert labels(surface.messages("7")[ends[0]]) == ["Open", "Details", "Menu"]


async def test_nothing_is_left_to_follow(minji: Chatter, house: House) -> None:
    await minji.make_diary()
    await house.settled()
    assert not house.talk._followed
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("follow-")]


async def test_what_begins_while_the_house_closes_is_left_to_the_next_start(
    start_house: StartHouse, surface: Recorder
) -> None:
    async with start_house() as house:
        person = Chatter(house.talk, surface)
        await person.arrive()
        await person.confirm_diary()
        await house.talk.close()
        assert (await person.press("Make it")).title == "Making diary …"
        assert not house.talk._followed
        assert await house.watched() == 1
    async with start_house() as house:
        await house.talk.resume(surface)
        await Chatter(house.talk, surface).until("🎉 diary is ready")
        await house.settled()
        assert await house.watched() == 0
