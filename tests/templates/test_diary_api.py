"""The diary's API: what it takes, what it gives, what it refuses."""

from __future__ import annotations

import asyncio
import json
import unicodedata
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest

from tests.templates.conftest import Api, Program

ENTRY = {"date": "2026-05-31", "title": "소풍", "body": "한강에서 김밥을 먹었다.", "mood": "😊"}


async def write(api: Api, **values: Any) -> Any:
    return await api.ok("POST", "/api/entries", ENTRY | values)


async def bodies(api: Api, query: str = "") -> list[str]:
    return [entry["body"] for entry in (await api.ok("GET", f"/api/entries?{query}"))["entries"]]


async def test_an_entry_is_written_read_changed_and_deleted(api: Api) -> None:
    status, answer = await api("POST", "/api/entries", ENTRY)
    assert (status, answer["ok"]) == (201, True)
    entry = answer["data"]
    assert {name: entry[name] for name in ENTRY} == ENTRY
    path = f"/api/entries/{entry['id']}"
    assert await api.ok("GET", path) == entry

    changed = await api.ok("PUT", path, {"body": "비가 와서 집에 있었다."})
    assert (changed["body"], changed["title"]) == ("비가 와서 집에 있었다.", "소풍")
    assert changed["createdAt"] == entry["createdAt"]

    assert (await api("DELETE", path))[0] == 200
    for method in ("GET", "DELETE"):
        assert (await api(method, path))[0] == 404
    assert (await api("PUT", path, ENTRY))[1]["code"] == "not_found"
    assert await bodies(api) == []


async def test_a_delete_can_be_undone(api: Api) -> None:
    entry = await write(api)
    await api.ok("DELETE", f"/api/entries/{entry['id']}")
    assert await api.ok("POST", f"/api/entries/{entry['id']}/restore") == entry
    assert await bodies(api) == [ENTRY["body"]]


async def test_only_the_body_is_needed(api: Api) -> None:
    entry = await api.ok("POST", "/api/entries", {"body": " 짧게 \r\n 두 줄 "})
    assert (entry["title"], entry["mood"], entry["body"]) == ("", "", "짧게 \n 두 줄")
    assert len(entry["date"]) == len("2026-05-31")


async def test_pages_are_newest_first_and_complete_while_entries_arrive(api: Api) -> None:
    for day in range(1, 8):
        await write(api, date=f"2026-05-{day:02}", body=f"아침 {day}")
        await write(api, date=f"2026-05-{day:02}", body=f"저녁 {day}")
    seen, cursor, totals = [], "", []
    while cursor is not None:
        page = await api.ok("GET", f"/api/entries?limit=3&cursor={cursor}")
        seen += [entry["body"] for entry in page["entries"]]
        totals.append(page["total"])
        cursor = page["nextCursor"]
        await write(api, date="2026-06-01", body="중간에 쓴 글")  # newer than every page still to come
    assert seen == [f"{part} {day}" for day in range(7, 0, -1) for part in ("저녁", "아침")]
    assert totals == [14, None, None, None, None]


async def test_a_range_of_dates(api: Api) -> None:
    for day in ("2026-05-01", "2026-05-02", "2026-05-03"):
        await write(api, date=day, body=day)
    assert await bodies(api, "from=2026-05-02") == ["2026-05-03", "2026-05-02"]
    assert await bodies(api, "from=2026-05-02&to=2026-05-02") == ["2026-05-02"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("김밥", ["한강에서 김밥을 먹었다."]),
        ("한강 김밥", ["한강에서 김밥을 먹었다."]),
        ("한강 라면", []),
        ("밥", ["한강에서 김밥을 먹었다."]),
        ("소풍", ["한강에서 김밥을 먹었다."]),
        ("100%", ["전부 100% 내 탓"]),
        ("100_", []),
        ("%", ["전부 100% 내 탓"]),
        ("HELLO", ["hello world"]),
        ("\\", [r"back\slash"]),
        (unicodedata.normalize("NFD", "김밥"), ["한강에서 김밥을 먹었다."]),
        ("' OR 1=1 --", []),
    ],
)
async def test_search(api: Api, query: str, found: list[str]) -> None:
    await write(api)
    for body in ("전부 100% 내 탓", "hello world", r"back\slash"):
        await api.ok("POST", "/api/entries", {"body": body})
    page = await api.ok("GET", f"/api/entries?query={quote(query, safe='')}")
    assert [entry["body"] for entry in page["entries"]] == found
    assert page["total"] == len(found)


async def test_decomposed_korean_is_stored_composed(api: Api) -> None:
    entry = await write(api, body=unicodedata.normalize("NFD", "한글"))
    assert entry["body"] == "한글"


async def test_a_retry_with_the_same_client_id_writes_once(api: Api) -> None:
    first = await api("POST", "/api/entries", ENTRY | {"clientId": "phone-1"})
    again = await api("POST", "/api/entries", ENTRY | {"clientId": "phone-1", "body": "다른 글"})
    assert (first[0], again[0]) == (201, 200)
    assert again[1]["data"] == first[1]["data"]
    assert await bodies(api) == [ENTRY["body"]]


async def test_a_retry_after_a_delete_brings_the_entry_back(api: Api) -> None:
    entry = await write(api, clientId="phone-2")
    await api.ok("DELETE", f"/api/entries/{entry['id']}")
    assert (await write(api, clientId="phone-2"))["id"] == entry["id"]
    assert await bodies(api) == [ENTRY["body"]]


async def test_many_at_once_lose_and_double_nothing(api: Api) -> None:
    calls = [api("POST", "/api/entries", {"body": f"글 {n}", "clientId": f"c{n % 20}"}) for n in range(60)]
    statuses = [status for status, _ in await asyncio.gather(*calls)]
    assert (statuses.count(201), statuses.count(200)) == (20, 40)
    assert (await api.ok("GET", "/api/entries?limit=100"))["total"] == 20


@pytest.mark.parametrize(
    ("content", "status", "code", "field"),
    [
        ("{not json", 400, "not_json", None),
        ("[1]", 400, "not_json", None),
        (b"\xff\xfe", 400, "not_json", None),
        ("[" * 100_000, 400, "not_json", None),
        ({}, 400, "empty", "body"),
        ({"body": "  \n "}, 400, "empty", "body"),
        ({"body": 5}, 400, "bad_text", "body"),
        ('{"body": "\\ud800"}', 400, "bad_text", "body"),
        ({"body": "a\0b"}, 400, "bad_text", "body"),
        ({"body": "a" * 100_001}, 400, "too_long", "body"),
        ({"body": "가" * 40_000}, 413, "too_long", "body"),
        ({"body": "a" * 2_000_000}, 413, "too_long", "body"),
        ({"body": "a", "title": "b" * 201}, 400, "too_long", "title"),
        ({"body": "a", "mood": "b" * 17}, 400, "too_long", "mood"),
        ({"body": "a", "date": "2026-02-30"}, 400, "bad_date", "date"),
        ({"body": "a", "date": "20260101"}, 400, "bad_date", "date"),
        ({"body": "a", "date": "0001-01-01"}, 400, "bad_date", "date"),
        ({"body": "a", "date": 20260101}, 400, "bad_date", "date"),
        ({"body": "a", "clientId": "c" * 65}, 400, "too_long", "clientId"),
    ],
)
async def test_bad_entries_are_refused_by_name(
    api: Api, content: Any, status: int, code: str, field: str | None
) -> None:
    got, answer = await api("POST", "/api/entries", content)
    assert (got, answer["ok"], answer["code"], answer.get("field")) == (status, False, code, field)
    assert answer["error"]
    assert await bodies(api) == []


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/api/entries?limit=0", 400, "bad_limit"),
        ("/api/entries?limit=101", 400, "bad_limit"),
        ("/api/entries?limit=x", 400, "bad_limit"),
        ("/api/entries?cursor=x", 400, "bad_cursor"),
        ("/api/entries?from=yesterday", 400, "bad_date"),
        ("/api/entries/999", 404, "not_found"),
        ("/api/entries/abc", 404, "not_found"),
        ("/api/entries/99999999999999999999999", 404, "not_found"),
        ("/api/calendar?month=2026-13", 400, "bad_month"),
        ("/api/calendar", 400, "bad_month"),
        ("/api/memories?date=x", 400, "bad_date"),
        ("/api/export?format=pdf", 400, "bad_format"),
        ("/api/nothing", 404, "not_found"),
    ],
)
async def test_bad_questions(api: Api, path: str, status: int, code: str) -> None:
    got, answer = await api("GET", path)
    assert (got, answer["ok"], answer["code"]) == (status, False, code)


async def test_a_wrong_method_says_which_are_right(api: Api) -> None:
    status, answer = await api("PATCH", "/api/entries")
    assert (status, answer["code"]) == (405, "method_not_allowed")


async def test_the_calendar_counts_days(api: Api) -> None:
    await write(api, date="2026-05-01", mood="😢")
    await write(api, date="2026-05-01", mood="😊")
    await write(api, date="2026-05-31", mood="")
    await write(api, date="2026-06-01")
    deleted = await write(api, date="2026-05-15")
    await api.ok("DELETE", f"/api/entries/{deleted['id']}")
    assert (await api.ok("GET", "/api/calendar?month=2026-05"))["days"] == [
        {"date": "2026-05-01", "count": 2, "mood": "😊"},
        {"date": "2026-05-31", "count": 1, "mood": ""},
    ]


async def test_memories_are_of_the_same_day_in_earlier_years(api: Api) -> None:
    for day in ("2024-05-31", "2021-05-31", "2026-05-31", "2027-05-31", "2024-05-30", "2024-02-29"):
        await write(api, date=day, body=day)
    found = (await api.ok("GET", "/api/memories?date=2026-05-31"))["entries"]
    assert [(entry["body"], entry["yearsAgo"]) for entry in found] == [("2024-05-31", 2), ("2021-05-31", 5)]
    # 29 February is remembered on the 28th when there is no 29th.
    found = (await api.ok("GET", "/api/memories?date=2026-02-28"))["entries"]
    assert [entry["body"] for entry in found] == ["2024-02-29"]


async def test_everything_can_be_taken_along(api: Api, diary: Program) -> None:
    for number in range(230):  # more than one page inside
        await write(api, date=f"2026-05-{number % 28 + 1:02}", body=f"글 {number}", clientId=f"id{number}")
    async with aiohttp.ClientSession(headers=api.headers) as session:
        async with session.get(diary.url + "/api/export") as response:
            assert response.headers["Content-Disposition"].startswith('attachment; filename="diary-')
            exported = json.loads(await response.text())
        async with session.get(diary.url + "/api/export?format=markdown") as response:
            text = await response.text()
    assert {entry["body"] for entry in exported["entries"]} == {f"글 {n}" for n in range(230)}
    assert len(exported["entries"]) == 230
    assert exported["entries"][0]["clientId"].startswith("id")
    assert text.count("\n\n글 ") == 230
    assert "## 2026-05-28 😊 소풍\n\n" in text
