"""The HTTP API as a program would use it."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Self

import aiohttp


class Refusal(AssertionError):
    """An answer that was not a success."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(f"{status} {body}")
        self.status = status
        self.body = body
        self.code = body.get("code")


class Api:
    """`async with Api(url) as api`: calls raise Refusal for anything but 2xx."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.token: str | None = None
        self.userid = ""

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def call(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        """The answer's `data`."""
        status, answer = await self.raw(method, path, body, **more)
        if not 200 <= status < 300:
            raise Refusal(status, answer)
        return answer["data"]

    async def raw(self, method: str, path: str, body: Any = None, **more: Any) -> tuple[int, dict[str, Any]]:
        """(status, the answer's JSON)"""
        headers = dict(more.pop("headers", {}))
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        if body is not None:
            more["json"] = body
        async with self._session.request(method, self.url + path, headers=headers, **more) as response:
            return response.status, json.loads(await response.text())

    async def register(self, userid: str, password: str = "a good password") -> Self:
        await self.call(
            "POST", "/api/v1/auth/register",
            {"username": userid, "email": f"{userid}@example.com", "password": password},
        )  # fmt: skip
        return await self.log_in(userid, password)

    async def log_in(self, userid: str, password: str = "a good password") -> Self:
        answer = await self.call("POST", "/api/v1/auth/login", {"username": userid, "password": password})
        self.token, self.userid = answer["token"], userid
        return self

    async def create(self, appname: str = "diary", template: str = "diary-v1", **more: Any) -> dict[str, Any]:
        """Asks for it, waits for the end, and returns the app. Raises Refusal when the operation failed."""
        answer = await self.call("POST", "/api/v1/apps", {"appname": appname, "templateId": template, **more})
        await self.ended(answer["operation"]["id"])
        return await self.app(appname)

    async def app(self, appname: str) -> dict[str, Any]:
        found: dict[str, Any] = await self.call("GET", f"/api/v1/apps/{self.userid}/{appname}")
        return found

    async def change(self, appname: str, verb: str, body: Any = None) -> dict[str, Any]:
        """start, stop, restart, restore, or delete; waits for the end and returns the operation."""
        path = f"/api/v1/apps/{self.userid}/{appname}"
        if verb == "delete":
            answer = await self.call("DELETE", path, body)
        else:
            answer = await self.call("POST", f"{path}/{verb}")
        return await self.ended(answer["operation"]["id"])

    async def ended(self, operation_id: str, timeout_s: float = 90) -> dict[str, Any]:
        """Follows the operation's event stream to its end. Raises Refusal when it failed."""
        async with asyncio.timeout(timeout_s):
            await self.events(operation_id)
        operation: dict[str, Any] = await self.call("GET", f"/api/v1/operations/{operation_id}")
        if operation["state"] != "succeeded":
            raise Refusal(500, operation["error"] or {})
        return operation

    async def events(self, operation_id: str, last_id: str = "0") -> list[dict[str, Any]]:
        """Every event of the operation after `last_id`, up to the end of the stream."""
        headers = {"Authorization": f"Bearer {self.token}", "Last-Event-ID": last_id}
        path = f"{self.url}/api/v1/operations/{operation_id}/events"
        found: list[dict[str, Any]] = []
        event: dict[str, Any] = {}
        async with self._session.get(path, headers=headers) as stream:
            if stream.status != 200:
                raise Refusal(stream.status, json.loads(await stream.text()))
            async for raw in stream.content:
                name, _, value = raw.decode().rstrip("\r\n").partition(": ")
                if name == "data":
                    event["data"] = json.loads(value)
                elif name in ("id", "event"):
                    event[name] = value
                elif not name and event:
                    found.append(event)
                    event = {}
        return found
