"""Telegram for tests: the Bot API over HTTP as strict as the real one, and people who use the bot.

The bot under test is pointed at `server.base_url`; nothing in it is replaced. What it sends is checked as Telegram
checks it and refused in Telegram's words; what it answers is seen by a `Person`, who types, presses and waits:

    async with await TelegramServer.start() as server:
        person = server.person(first_name="Mina", language_code="ko")
        await person.send("/start")                  # returns when the bot has taken the update
        menu = await person.wait_for("무엇을")         # a message, new or edited; a failure prints the chat
        press = await person.press("만들기")
        assert await press.answer() is None          # the spinner stopped, without words

Time is real but for `server.clock.advance(seconds)`; floods are off unless `server.limits` says otherwise.
"""

import contextlib
import logging
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Self

from aiogram.types import User
from aiohttp import web

from . import telegram_profile  # noqa: F401  # registers its methods
from .telegram_chats import ChatMessage, Press, Room, Toast, World
from .telegram_limits import Clock, Floods, Limits
from .telegram_messages import HANDLERS
from .telegram_people import Group, Person
from .telegram_updates import Changes, UpdateQueue
from .telegram_wire import (
    METHODS,
    Parameters,
    Refusal,
    check_shape,
    checked,
    read_parameters,
    to_wire,
    too_many_requests,
)

__all__ = ["Call", "ChatMessage", "Group", "Limits", "Person", "Press", "Room", "TelegramServer", "Toast"]

log = logging.getLogger(__name__)

TOKEN = "123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"
BODY_BYTES_MAX = 60 * 1024 * 1024
BAD_GATEWAY_PAGE = (
    "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>nginx</body>\r\n</html>\r\n"
)

OutageKind = Literal["bad_gateway", "page", "dropped"]


@dataclass(frozen=True)
class Call:
    """One answered request of the bot; files are among `params` by their names."""

    method: str
    params: dict[str, str]
    at: datetime
    status: int
    description: str = ""


class TelegramServer:
    """Start with `start`, end with `close` or as an async context manager."""

    def __init__(self, token: str, *, username: str, local_mode: bool, limits: Limits) -> None:
        bot = User(
            id=int(token.partition(":")[0]),
            is_bot=True,
            first_name="Madang",
            username=username,
            can_join_groups=True,
            can_read_all_group_messages=False,
            supports_inline_queries=False,
        )
        self.limits = limits
        self.clock = Clock()
        self.changes = Changes()
        self.updates = UpdateQueue(self.changes, limits, self.clock)
        self.updates.answer = self._run_answered
        self.world = World(bot, token, local_mode, limits, self.clock, self.changes, self.updates)
        self.calls: list[Call] = []
        self.people: dict[int, Person] = {}
        self.base_url = ""
        self._floods = Floods(limits, self.clock.now)
        self._failures: dict[str, deque[Refusal]] = defaultdict(deque)
        self._outage: OutageKind | None = None
        self._runner: web.AppRunner | None = None

    @classmethod
    async def start(
        cls,
        token: str = TOKEN,
        *,
        username: str = "madang_test_bot",
        local_mode: bool = False,
        limits: Limits | None = None,
    ) -> Self:
        """Listens on a free loopback port. In local mode a webhook may be plain http on any port."""
        server = cls(token, username=username, local_mode=local_mode, limits=limits or Limits())
        app = web.Application(client_max_size=BODY_BYTES_MAX)
        app.router.add_get("/file/bot{token}/{path:.+}", server._download)
        app.router.add_route("*", "/bot{token}/{method}", server._call)
        app.router.add_route("*", "/{anything:.*}", _not_found)
        server._runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=1)
        await server._runner.setup()
        site = web.TCPSite(server._runner, "127.0.0.1", 0)
        await site.start()
        port = server._runner.addresses[0][1]
        server.base_url = f"http://127.0.0.1:{port}"
        return server

    async def close(self) -> None:
        self.updates.end_poll("Bad Gateway", 502)
        await self.updates.stop_lanes()
        if self._runner:
            await self._runner.cleanup()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def token(self) -> str:
        return self.world.token

    def person(
        self,
        id: int | None = None,  # noqa: A002  # Telegram's word
        *,
        first_name: str = "Mina",
        language_code: str | None = "en",
        username: str | None = None,
        met: bool = False,
    ) -> Person:
        """Somebody new. Until they have written (or `met`), the bot does not find their chat, as in reality."""
        user_id = id or 5_000_000_000 + self.world.next_number()
        assert user_id not in self.people, "there is such a person already"
        user = User(
            id=user_id, is_bot=False, first_name=first_name, language_code=language_code, username=username
        )
        return self.people.setdefault(user_id, Person(self.world, user, met=met))

    def chat(
        self, title: str, members: list[Person], *, username: str | None = None, privacy: bool = True
    ) -> Group:
        """A supergroup with these people, the first its owner, and the bot."""
        group = Group(self.world, title, username=username, privacy=privacy)
        self.world.rooms[group.id] = group
        self.world.members[group.id] = [member.id for member in members]
        return group

    def called(self, method: str) -> list[Call]:
        return [call for call in self.calls if call.method.lower() == method.lower()]

    async def wait_for_call(
        self, method: str, matches: Callable[[Call], bool] = lambda _: True, *, timeout: float = 5.0
    ) -> Call:
        """The first answered call of the method that matches; raises TimeoutError with the newest calls."""

        def found() -> Call | None:
            return next((call for call in self.called(method) if matches(call)), None)

        try:
            return await self.changes.wait_until(found, timeout)
        except TimeoutError:
            newest = "\n".join(f"{call.method} {call.status} {call.params}" for call in self.calls[-20:])
            raise TimeoutError(
                f"{method} was not called within {timeout} s; newest calls:\n{newest}"
            ) from None

    async def wait_for_poller(self, *, timeout: float = 5.0) -> None:
        """Until a bot stands in getUpdates."""
        await self.changes.wait_until(lambda: self.updates.has_poller, timeout)

    async def redeliver(self, update_id: int, *, timeout: float = 5.0) -> None:
        """Gives the bot an update once more, even a confirmed one; returns when it has been given."""
        queued = self.updates.by_id[update_id]
        before = queued.deliveries
        self.updates.repeat(queued)
        await self.changes.wait_until(lambda: queued.deliveries > before, timeout)

    def fail_next(self, method: str, status: int, description: str, *, times: int = 1) -> None:
        """Refuses the next calls of a method, whatever they say; description as on the wire."""
        self._failures[method.lower()].extend([Refusal(status, description)] * times)

    def throttle_next(self, method: str, retry_after: int, *, times: int = 1) -> None:
        self._failures[method.lower()].extend([too_many_requests(retry_after)] * times)

    @contextlib.contextmanager
    def outage(self, kind: OutageKind = "bad_gateway") -> Iterator[None]:
        """While inside, every request is answered 502 (as JSON or as nginx's page) or its connection dropped."""
        self._outage = kind
        self.updates.end_poll("Bad Gateway", 502)
        try:
            yield
        finally:
            self._outage = None

    async def _call(self, request: web.Request) -> web.StreamResponse:
        method = request.match_info["method"]
        at = self.clock.now()
        parameters = Parameters(method, {}, {})
        try:
            self._check_outage(request)
            self._check_token(request.match_info["token"])
            self._check_method(method, request.method)
            parameters = await read_parameters(method, request)
            result = await self._result(method, parameters)
        except Refusal as refusal:
            response = _refused(refusal)
            self._log(Call(_named(method), _logged(parameters), at, refusal.status, refusal.description))
            return (
                response
                if self._outage != "page"
                else web.Response(status=502, text=BAD_GATEWAY_PAGE, content_type="text/html")
            )
        self._log(Call(_named(method), _logged(parameters), at, 200))
        return web.json_response({"ok": True, "result": result})

    def _check_outage(self, request: web.Request) -> None:
        if self._outage == "dropped" and request.transport:
            request.transport.abort()
        if self._outage:
            raise Refusal(502, "Bad Gateway")

    def _check_token(self, token: str) -> None:
        if ":" not in token or not token.partition(":")[0].isdecimal() or token.startswith("0"):
            raise Refusal(401, "Unauthorized: invalid token specified")
        if token != self.token:
            raise Refusal(401, "Unauthorized")
        if self.world.logged_out:
            raise Refusal(400, "Logged out")

    def _check_method(self, method: str, http_method: str) -> None:
        if http_method not in ("GET", "POST"):
            raise Refusal(404, "Not Found")
        if method.lower() not in METHODS:
            raise Refusal(404, "Not Found: method not found")
        if method.lower() not in HANDLERS:
            raise Refusal(501, f"Not Implemented: {_named(method)} is not played here")

    async def _result(self, method: str, parameters: Parameters) -> Any:
        """The checked JSON result of a call; raises Refusal."""
        failures = self._failures[method.lower()]
        if failures:
            raise failures.popleft()
        self._floods.count(_named(method), parameters.text("chat_id"))
        result = to_wire(await HANDLERS[method.lower()](self.world, parameters))
        check_shape(METHODS[method.lower()].__returning__, result)
        return result

    async def _run_answered(self, method: str, values: dict[str, str]) -> None:
        """A method that the bot called in its answer to the webhook; as at Telegram, it never learns the result."""
        at = self.clock.now()
        try:
            self._check_method(method, "POST")
            await self._result(method, checked(method, values, {}))
        except Refusal as refusal:
            self._log(Call(_named(method), values, at, refusal.status, refusal.description))
        else:
            self._log(Call(_named(method), values, at, 200))

    async def _download(self, request: web.Request) -> web.StreamResponse:
        try:
            self._check_outage(request)
            self._check_token(request.match_info["token"])
        except Refusal as refusal:
            return _refused(refusal)
        file = self.world.downloads.get(request.match_info["path"])
        if file is None:
            return _refused(Refusal(404, "Not Found"))
        return web.Response(body=file.content, content_type="application/octet-stream")

    def _log(self, call: Call) -> None:
        self.calls.append(call)
        if call.status != 200:
            log.info("%s refused: %s %s %s", call.method, call.status, call.description, call.params)
        self.changes.announce()


def _named(method: str) -> str:
    model = METHODS.get(method.lower())
    return model.__api_method__ if model else method


def _logged(parameters: Parameters) -> dict[str, str]:
    return {**parameters.values, **{name: upload.name for name, upload in parameters.files.items()}}


def _refused(refusal: Refusal) -> web.Response:
    headers = {"Retry-After": str(refusal.retry_after_s)} if refusal.retry_after_s else None
    return web.json_response(refusal.envelope(), status=refusal.status, headers=headers)


async def _not_found(request: web.Request) -> web.StreamResponse:
    return _refused(Refusal(404, "Not Found"))
