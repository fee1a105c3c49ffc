"""A whole Madang with its talk at hand."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from bot.talk import Talk
from engine import main
from tests.conftest import Start
from tests.conversation.recorder import Chatter, House, Recorder

StartHouse = Callable[..., AbstractAsyncContextManager[House]]


@pytest.fixture
def start_house(start_madang: Start, monkeypatch: pytest.MonkeyPatch) -> StartHouse:
    """As `start_madang`: on the same root each time."""
    talks: list[Talk] = []

    class KnownTalk(Talk):
        def __init__(self, **parts: Any) -> None:
            super().__init__(**parts)
            talks.append(self)

    monkeypatch.setattr(main, "Talk", KnownTalk)

    @asynccontextmanager
    async def start(**settings: object) -> AsyncIterator[House]:
        async with start_madang(**settings) as madang:
            yield House(madang, talks[-1])

    return start


@pytest.fixture
async def house(start_house: StartHouse) -> AsyncIterator[House]:
    async with start_house() as house:
        yield house


@pytest.fixture
def surface() -> Recorder:
    return Recorder()


@pytest.fixture
async def minji(house: House, surface: Recorder) -> Chatter:
    """Somebody who has just arrived."""
    person = Chatter(house.talk, surface)
    await person.arrive()
    return person


@pytest.fixture
def noise() -> list[str]:
    """The loggers that may report an error in this test."""
    return []


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture, noise: list[str]) -> Iterator[None]:
    yield
    loud = [record for record in caplog.get_records("call") if record.levelno >= logging.ERROR]
    assert {record.name for record in loud} <= set(noise), [record.getMessage() for record in loud]
