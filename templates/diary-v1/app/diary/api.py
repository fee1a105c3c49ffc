"""The JSON API, and the two middlewares that every request passes.

Success is {"ok": true, "data": …}; trouble is {"ok": false, "error": "for people", "code": "for_programs"},
with the "field" that it is about when there is one.
Handlers raise `Problem`; one place turns it into an answer.
"""

from __future__ import annotations

import json
import re
import sys
import traceback
import unicodedata
from dataclasses import dataclass
from datetime import UTC, date, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from aiohttp import web

from diary.access import Access, visitor_of
from diary.settings import Settings
from diary.store import Draft, Entry, Filter, Position, StorageTrouble, Store, stamp

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

SETTINGS = web.AppKey("settings", Settings)
STORE = web.AppKey("store", Store)
ACCESS = web.AppKey("access", Access)

MAX_REQUEST_BYTES = 1024 * 1024  # Korean written as \uXXXX in JSON is twice its size
MAX_BODY_BYTES = 100_000
MAX_TITLE_LETTERS = 200
MAX_MOOD_LETTERS = 16
MAX_QUERY_LETTERS = 200
MAX_QUERY_WORDS = 8
MAX_PAGE = 100
DEFAULT_PAGE = 20
OPEN_TO_ALL = re.compile(r"/(healthz|login|manifest\.webmanifest|assets/.*)?")


@dataclass
class Problem(Exception):
    status: int
    code: str
    message: str
    field: str | None = None
    retry_after_s: float | None = None

    def answer(self) -> web.Response:
        content: dict[str, Any] = {"ok": False, "error": self.message, "code": self.code}
        if self.field is not None:
            content["field"] = self.field
        response = as_json(content, self.status)
        if self.retry_after_s is not None:
            response.headers["Retry-After"] = str(max(1, round(self.retry_after_s)))
        if self.status == HTTPStatus.UNAUTHORIZED:
            response.headers["WWW-Authenticate"] = "Bearer"
        return response


LOCKED = Problem(503, "no_owner_key", "This diary has no owner key yet, so it is closed to everyone.")


def as_json(content: dict[str, Any], status: int = 200) -> web.Response:
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return web.Response(
        text=text, status=status, content_type="application/json", headers={"Cache-Control": "no-store"}
    )


def done(data: object, status: int = 200) -> web.Response:
    return as_json({"ok": True, "data": data}, status)


# -- what every request passes -------------------------------------------------------------------------------


@web.middleware
async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Whatever goes wrong becomes the JSON that the pages and programs understand."""
    try:
        return await handler(request)
    except Problem as problem:
        return problem.answer()
    except StorageTrouble as trouble:
        print(f"storage: {trouble}", file=sys.stderr, flush=True)
        if trouble.full:
            return Problem(507, "disk_full", "There is no room left to save this.").answer()
        return Problem(503, "storage_unavailable", "The diary cannot be read or saved now.", None, 5).answer()
    except web.HTTPException as error:
        if error.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            return Problem(413, "too_long", "This is more than the diary can take.", "body").answer()
        response = Problem(error.status, re.sub(r"\W+", "_", error.reason.lower()), error.reason).answer()
        if "Allow" in error.headers:
            response.headers["Allow"] = error.headers["Allow"]
        return response
    except Exception:  # noqa: BLE001 - the last door: a bug must still answer, and leave a trace
        traceback.print_exc()
        return Problem(500, "bug", "Something went wrong here. It has been noted in the log.").answer()


@web.middleware
async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Nothing under /api without the owner's key or session; nothing at all while there is no key to check."""
    settings = request.app[SETTINGS]
    if request.path.startswith("/api/") and not settings.keeps_entries:
        raise Problem(404, "api_off", "This diary keeps its entries in the browser; there is no API.")
    if settings.is_locked and request.path != "/":  # "/" explains it to people
        if not request.path.startswith("/assets/"):
            raise LOCKED
    elif settings.keeps_entries and not OPEN_TO_ALL.fullmatch(request.path):
        await require_owner(request)
    return await handler(request)


async def require_owner(request: web.Request) -> None:
    access = request.app[ACCESS]
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        try_key(request, key)
        return
    if await access.session_age_s(request) is None:
        raise Problem(401, "login_required", "This diary is private. Its owner's key opens it.")
    if request.method not in {"GET", "HEAD"} and not access.is_same_origin(request):
        raise Problem(403, "wrong_origin", "This request did not come from the diary's own page.")


def try_key(request: web.Request, key: str) -> None:
    """Return when the key is right; raise when it is wrong, or when this visitor has to wait before the next
    try.
    """
    access, visitor = request.app[ACCESS], visitor_of(request)
    wait_s = access.attempts.wait_s(visitor)
    if wait_s > 0:
        raise Problem(429, "too_many_tries", "Too many wrong keys. Please wait a little.", "key", wait_s)
    if not access.is_key(key):
        access.attempts.wrong(visitor)
        raise Problem(401, "wrong_key", "This is not the key of this diary.", "key")
    access.attempts.right(visitor)


async def healthz(request: web.Request) -> web.Response:
    if request.app[SETTINGS].keeps_entries:
        await request.app[STORE].check()
    return web.Response(text="ok", headers={"Cache-Control": "no-store"})


# -- entries -------------------------------------------------------------------------------------------------


async def list_entries(request: web.Request) -> web.Response:
    query, store = request.query, request.app[STORE]
    words = text_of(dict(query), "query", MAX_QUERY_LETTERS).split()[:MAX_QUERY_WORDS]
    which = Filter(tuple(words), date_in(query.get("from"), "from"), date_in(query.get("to"), "to"))
    after = read_cursor(query.get("cursor"))
    entries, next_after = await store.page(which, read_limit(query.get("limit")), after)
    return done(
        {
            "entries": [entry.as_json() for entry in entries],
            "nextCursor": f"{next_after[0]}_{next_after[1]}" if next_after else None,
            # The first page says how many there are in all.
            "total": await store.count(which) if after is None else None,
        }
    )


async def add_entry(request: web.Request) -> web.Response:
    """201 with the new entry, or 200 with the stored one when its clientId has been here before."""
    content = await read_object(request)
    today = datetime.now(UTC).date().isoformat()
    draft = Draft(
        date=date_in(content.get("date"), "date") or today,
        title=title_of(content),
        body=body_of(content),
        mood=mood_of(content),
    )
    client_id = text_of(content, "clientId", 64) or None
    entry, is_new = await request.app[STORE].add(draft, client_id)
    return done(entry.as_json(), 201 if is_new else 200)


async def get_entry(request: web.Request) -> web.Response:
    return done(found(await request.app[STORE].get(entry_id(request))).as_json())


async def change_entry(request: web.Request) -> web.Response:
    """Change an entry. What the request leaves out stays as it was."""
    store, content = request.app[STORE], await read_object(request)
    old = found(await store.get(entry_id(request)))
    draft = Draft(
        date=date_in(content.get("date"), "date") or old.date,
        title=title_of(content) if "title" in content else old.title,
        body=body_of(content) if "body" in content else old.body,
        mood=mood_of(content) if "mood" in content else old.mood,
    )
    return done(found(await store.change(old.id, draft)).as_json())


async def delete_entry(request: web.Request) -> web.Response:
    number = entry_id(request)
    if not await request.app[STORE].delete(number):
        found(None)
    return done({"id": number})


async def restore_entry(request: web.Request) -> web.Response:
    return done(found(await request.app[STORE].restore(entry_id(request))).as_json())


async def calendar(request: web.Request) -> web.Response:
    month = request.query.get("month", "")
    if not re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", month, re.ASCII):
        raise Problem(400, "bad_month", "A month looks like 2026-05.", "month")
    return done({"month": month, "days": await request.app[STORE].days(month)})


async def memories(request: web.Request) -> web.Response:
    """Entries of this day in earlier years. The reader's own `date` counts: their today need not be the
    server's.
    """
    today = date_in(request.query.get("date"), "date") or datetime.now(UTC).date().isoformat()
    days = (today[5:], "02-29") if today[5:] == "02-28" and not is_leap(int(today[:4])) else (today[5:],)
    entries = await request.app[STORE].on_these_days_before(days, today)
    year = int(today[:4])
    return done(
        {"entries": [entry.as_json() | {"yearsAgo": year - int(entry.date[:4])} for entry in entries]}
    )


def is_leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


# -- taking everything along ---------------------------------------------------------------------------------


async def export(request: web.Request) -> web.StreamResponse:
    """Every entry as one file, sent in pieces so that ten years of diary need no more memory than a day."""
    kinds = {
        "json": ("application/json", "json", json_pieces),
        "markdown": ("text/markdown", "md", markdown_pieces),
    }
    kind = request.query.get("format", "json")
    if kind not in kinds:
        raise Problem(400, "bad_format", "format is json or markdown.", "format")
    content_type, suffix, pieces = kinds[kind]
    store = request.app[STORE]
    await store.check()  # after the first piece it is too late to answer with an error
    response = web.StreamResponse(
        headers={
            "Content-Type": f"{content_type}; charset=utf-8",
            "Content-Disposition": f'attachment; filename="diary-{stamp()[:10]}.{suffix}"',
            "Cache-Control": "no-store",
        }
    )
    await response.prepare(request)
    async for piece in pieces(every_entry(store)):
        await response.write(piece.encode())
    await response.write_eof()
    return response


async def every_entry(store: Store) -> AsyncIterator[Entry]:
    after: Position | None = None
    while True:
        entries, after = await store.page(Filter(), MAX_PAGE, after)
        for entry in entries:
            yield entry
        if after is None:
            return


async def json_pieces(entries: AsyncIterator[Entry]) -> AsyncIterator[str]:
    """A document that the page's "import" reads back."""
    yield f'{{"app": "madang-diary", "version": 1, "exportedAt": "{stamp()}", "entries": ['
    comma = "\n"
    async for entry in entries:
        yield comma + json.dumps(entry.as_json(), ensure_ascii=False)
        comma = ",\n"
    yield "\n]}\n"


async def markdown_pieces(entries: AsyncIterator[Entry]) -> AsyncIterator[str]:
    async for entry in entries:
        heading = " ".join(part for part in (entry.date, entry.mood, entry.title) if part)
        yield f"## {heading}\n\n{entry.body}\n\n"


# -- reading what people send --------------------------------------------------------------------------------


def found(entry: Entry | None) -> Entry:
    if entry is None:
        raise Problem(404, "not_found", "There is no such entry.")
    return entry


def entry_id(request: web.Request) -> int:
    text = request.match_info["id"]
    if not re.fullmatch(r"\d{1,18}", text, re.ASCII):
        found(None)
    return int(text)


async def read_object(request: web.Request) -> dict[str, Any]:
    try:
        content = json.loads(await request.text())
    except (ValueError, RecursionError, LookupError) as error:  # LookupError: a charset that nobody knows
        raise Problem(400, "not_json", "The request must be JSON.") from error
    if not isinstance(content, dict):
        raise Problem(400, "not_json", "The request must be a JSON object.")
    return content


def text_of(content: dict[str, Any], field: str, most_letters: int) -> str:
    """A text field, trimmed. NFC, because some keyboards send 한 as ㅎ+ㅏ+ㄴ and search must find both."""
    value = content.get(field)
    if value is None:
        return ""
    if not isinstance(value, str) or not is_storable(value):
        raise Problem(400, "bad_text", f"{field} must be text.", field)
    text = unicodedata.normalize("NFC", value.replace("\r\n", "\n").replace("\r", "\n")).strip()
    if len(text) > most_letters:
        raise Problem(400, "too_long", f"{field} may have {most_letters} letters at most.", field)
    return text


def is_storable(text: str) -> bool:
    """JSON can spell half a character (a lone surrogate) and NUL; UTF-8 files cannot hold them well."""
    return "\0" not in text and not any("\ud800" <= letter <= "\udfff" for letter in text)


def title_of(content: dict[str, Any]) -> str:
    return " ".join(text_of(content, "title", MAX_TITLE_LETTERS).split())


def mood_of(content: dict[str, Any]) -> str:
    return text_of(content, "mood", MAX_MOOD_LETTERS)


def body_of(content: dict[str, Any]) -> str:
    body = text_of(content, "body", MAX_BODY_BYTES)
    if not body:
        raise Problem(400, "empty", "An entry needs some words.", "body")
    if len(body.encode()) > MAX_BODY_BYTES:
        raise Problem(413, "too_long", f"body may have {MAX_BODY_BYTES} bytes at most.", "body")
    return body


def date_in(value: object, field: str) -> str | None:
    """A real day between 1900 and 2200 written YYYY-MM-DD; None when nothing is given."""
    if value is None or value == "":
        return None
    day = (
        value if isinstance(value, str) and re.fullmatch(r"(19|20|21)\d\d-\d\d-\d\d", value, re.ASCII) else ""
    )
    try:
        return date.fromisoformat(day).isoformat()
    except ValueError as error:
        message = f"{field} must be a real day, written like 2026-05-31."
        raise Problem(400, "bad_date", message, field) from error


def read_limit(text: str | None) -> int:
    if text is None:
        return DEFAULT_PAGE
    if not re.fullmatch(r"\d{1,3}", text, re.ASCII) or not 1 <= int(text) <= MAX_PAGE:
        raise Problem(400, "bad_limit", f"limit is a number from 1 to {MAX_PAGE}.", "limit")
    return int(text)


def read_cursor(text: str | None) -> Position | None:
    if not text:
        return None
    match = re.fullmatch(r"(\d{4}-\d\d-\d\d)_(\d{1,18})", text, re.ASCII)
    if match is None:
        raise Problem(400, "bad_cursor", "cursor must be the nextCursor of an earlier answer.", "cursor")
    return match[1], int(match[2])
