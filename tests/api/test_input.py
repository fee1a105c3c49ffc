"""Bad input gets a clear 4xx that names the field, in the reader's language, and never a look inside."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from yarl import URL

from tests.api.conftest import Answer, Box
from tests.support.api import Api

APPS = "/api/v1/apps"
REGISTER = "/api/v1/auth/register"
JSON = {"Content-Type": "application/json"}


def app(**more: Any) -> dict[str, Any]:
    return {"appname": "diary", "templateId": "diary-v1"} | more


def person(**more: Any) -> dict[str, Any]:
    return {"username": "carol", "email": "carol@example.com", "password": "a good password"} | more


def without(body: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key != name}


def check(answer: Answer, status: int, code: str, field: str | None) -> None:
    assert answer.status == status, answer.text
    body = answer.json
    assert body["ok"] is False
    assert (body["code"], body.get("field")) == (code, field)
    assert body["error"]
    assert answer.headers["Content-Type"].startswith("application/json")
    for inside in ("Traceback", "pydantic", ".py", "sqlite", "Error:"):
        assert inside not in answer.text


_CASES: list[tuple[str, str, Any, str, str | None]] = [
    # what is sent where, and the code and field of the 400
    ("POST", REGISTER, person(username="ab"), "bad_handle", "username"),
    ("POST", REGISTER, person(username="a" * 21), "bad_handle", "username"),
    ("POST", REGISTER, person(username="Carol"), "bad_handle", "username"),
    ("POST", REGISTER, person(username="carol\n"), "bad_handle", "username"),
    ("POST", REGISTER, person(username="carol-x"), "bad_handle", "username"),
    ("POST", REGISTER, person(username="ｃａｒｏｌ"), "bad_handle", "username"),
    ("POST", REGISTER, person(username=""), "bad_handle", "username"),
    ("POST", REGISTER, person(username="api"), "reserved_handle", "username"),
    ("POST", REGISTER, person(username=7), "bad_field", "username"),
    ("POST", REGISTER, person(username=None), "bad_field", "username"),
    ("POST", REGISTER, person(username=["carol"]), "bad_field", "username"),
    ("POST", REGISTER, person(username="x" * 4001), "bad_field", "username"),
    ("POST", REGISTER, person(username="car\0ol"), "bad_field", "username"),
    ("POST", REGISTER, person(email="carol"), "bad_email", "email"),
    ("POST", REGISTER, person(email="a" * 300 + "@example.com"), "bad_email", "email"),
    ("POST", REGISTER, person(email="ca\0rol@example.com"), "bad_field", "email"),
    ("POST", REGISTER, person(email="carol@exa\x1bmple.com"), "bad_field", "email"),
    ("POST", REGISTER, person(email=True), "bad_field", "email"),
    ("POST", REGISTER, person(password="short"), "short_password", "password"),
    ("POST", REGISTER, person(password="x" * 73), "long_password", "password"),
    ("POST", REGISTER, person(password="가" * 25), "long_password", "password"),
    ("POST", REGISTER, person(password="nul\0inside it"), "bad_field", "password"),
    ("POST", REGISTER, person(role="admin"), "unknown_field", "role"),
    ("POST", REGISTER, without(person(), "email"), "missing_field", "email"),
    ("POST", REGISTER, without(person(), "username"), "missing_field", "username"),
    ("POST", REGISTER, {}, "missing_field", "email"),
    ("POST", "/api/v1/auth/login", {"password": "a good password"}, "missing_field", "username"),
    ("POST", "/api/v1/auth/login", {"username": "alice"}, "missing_field", "password"),
    ("POST", "/api/v1/auth/login", {"username": "alice", "password": 12345678}, "bad_field", "password"),
    ("POST", "/api/v1/auth/change-password", {"currentPassword": "x"}, "missing_field", "newPassword"),
    ("POST", APPS, app(appname="ab"), "bad_app_name", "appname"),
    ("POST", APPS, app(appname="a" * 31), "bad_app_name", "appname"),
    ("POST", APPS, app(appname="Diary"), "bad_app_name", "appname"),
    ("POST", APPS, app(appname="../../etc"), "bad_app_name", "appname"),
    ("POST", APPS, app(appname="diary\n"), "bad_app_name", "appname"),
    ("POST", APPS, app(appname="일기장"), "bad_app_name", "appname"),
    ("POST", APPS, app(appname=1e400), "bad_field", "appname"),
    ("POST", APPS, app(appname={"a": 1}), "bad_field", "appname"),
    ("POST", APPS, app(templateId="nothing"), "unknown_template", "templateId"),
    ("POST", APPS, app(templateId="../diary-v1"), "unknown_template", "templateId"),
    ("POST", APPS, app(templateId=None), "bad_field", "templateId"),
    ("POST", APPS, without(app(), "templateId"), "missing_field", "templateId"),
    ("POST", APPS, without(app(), "appname"), "missing_field", "appname"),
    ("POST", APPS, app(enableApi="yes"), "bad_field", "enableApi"),
    ("POST", APPS, app(enableApi=1), "bad_field", "enableApi"),
    ("POST", APPS, app(templateId="homepage-v1", enableApi=True), "unknown_option", "enableApi"),
    ("POST", APPS, app(options={"colour": "red"}), "unknown_option", "colour"),
    ("POST", APPS, app(options={"enableApi": "maybe"}), "bad_option", "enableApi"),
    ("POST", APPS, app(options={"enableApi": True}), "bad_field", "options.enableApi"),
    ("POST", APPS, app(options=["enableApi"]), "bad_field", "options"),
    ("POST", APPS, app(templateId="homepage-v1", options={"intro": "x" * 301}), "long_option", "intro"),
    ("POST", APPS, app(templateId="homepage-v1", options={"intro": "\0"}), "bad_field", "options.intro"),
    ("POST", APPS, app(title=""), "bad_title", "title"),
    ("POST", APPS, app(title="   "), "bad_title", "title"),
    ("POST", APPS, app(title="x" * 81), "bad_title", "title"),
    ("POST", APPS, app(title="two\nlines"), "bad_title", "title"),
    ("POST", APPS, app(title="two\u2028lines"), "bad_title", "title"),
    ("POST", APPS, app(title="nul\0"), "bad_field", "title"),
    ("POST", APPS, app(quota=99), "unknown_field", "quota"),
    ("DELETE", APPS + "/alice/diary", {"keepData": "no"}, "bad_field", "keepData"),
    ("DELETE", APPS + "/alice/diary", {"keep": False}, "unknown_field", "keep"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "body", "code", "field"), _CASES)
async def test_the_field_at_fault_is_named(
    box: Box, alice: Api, method: str, path: str, body: Any, code: str, field: str | None
) -> None:
    answer = await box.send(method, path, as_=alice, data=json.dumps(body), headers=JSON)
    check(answer, 400, code, field)
    korean = await box.send(
        method,
        path,
        as_=alice,
        data=json.dumps(body),
        headers=JSON | {"Accept-Language": "ko-KR,ko;q=0.9,en;q=0.5"},
    )
    check(korean, 400, code, field)
    assert any("가" <= letter <= "힣" for letter in korean.json["error"]), korean.text
    assert not any("가" <= letter <= "힣" for letter in answer.json["error"])
    assert await alice.call("GET", APPS) == []


_DEEP = 50_000
_BODIES: list[tuple[str, bytes, str]] = [
    ("nothing", b"", "bad_json"),
    ("spaces", b"   \n", "bad_json"),
    ("not JSON", b"appname=diary", "bad_json"),
    ("half of it", b'{"appname": "diary"', "bad_json"),
    ("an array", b"[]", "bad_json"),
    ("an array of it", b'[{"appname": "diary", "templateId": "diary-v1"}]', "bad_json"),
    ("a string", b'"diary"', "bad_json"),
    ("a number", b"7", "bad_json"),
    ("null", b"null", "bad_json"),
    ("two of them", b"{}{}", "bad_json"),
    ("not UTF-8", b'{"appname": "\xff\xfe"}', "bad_json"),
    ("UTF-16", '{"appname": "diary"}'.encode("utf-16"), "bad_json"),
    ("a lone surrogate", b'{"appname": "\\ud800", "templateId": "diary-v1"}', "bad_json"),
    ("two lone surrogates", b'{"appname": "\\udc00\\ud800", "templateId": "diary-v1"}', "bad_json"),
    ("a raw NUL", b'{"appname": "di\x00ary"}', "bad_json"),
    ("deep arrays", b"[" * _DEEP + b"]" * _DEEP, "bad_json"),
    ("deep objects", b'{"options":' * _DEEP + b"1" + b"}" * _DEEP, "bad_json"),
    ("a deep option", b'{"appname":"a","templateId":"b","options":{"x":' + b"[" * 190 + b"]" * 190 + b"}}", "bad_field"),
    ("a huge number", b'{"appname": ' + b"9" * 50_000 + b', "templateId": "x"}', "bad_json"),
    ("a huge exponent", b'{"appname": 1e999999999, "templateId": "x"}', "bad_field"),
    ("a huge key", b'{"' + b"k" * 500_000 + b'": 1, "appname": "diary", "templateId": "diary-v1"}', "unknown_field"),
    ("many keys", json.dumps({"options": {f"k{n}": 1 for n in range(50_000)}}).encode(), "missing_field"),
]  # fmt: skip


@pytest.mark.parametrize(("what", "body", "code"), _BODIES, ids=[what for what, _, _ in _BODIES])
async def test_whatever_the_bytes_they_are_answered_in_words(
    box: Box, alice: Api, what: str, body: bytes, code: str
) -> None:
    answer = await box.send("POST", APPS, as_=alice, data=body, headers=JSON)
    assert (answer.status, answer.json["code"]) == (400, code), answer.text[:300]
    assert len(answer.text) < 2000, "what was sent does not come back at length"


@pytest.mark.parametrize("headers", [JSON, {"Content-Type": "application/x-www-form-urlencoded"}])
@pytest.mark.parametrize("path", [APPS, "/api/v1/auth/login"])
async def test_two_megabytes_are_too_much(box: Box, alice: Api, path: str, headers: dict[str, str]) -> None:
    answer = await box.send("POST", path, as_=alice, data=io.BytesIO(bytes(2 * 1024 * 1024)), headers=headers)
    check(answer, 413, "too_large", None)
    assert str(1024 * 1024) in answer.json["error"].replace(",", "")


async def test_a_body_without_a_length_is_too_much_all_the_same(box: Box, alice: Api) -> None:
    async def chunks() -> Any:
        for _ in range(2048):
            yield b"x" * 1024

    check(await box.send("POST", APPS, as_=alice, data=chunks(), headers=JSON), 413, "too_large", None)


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "text/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonp",
        "",
        "/;",
    ],
)
async def test_only_json_is_taken(box: Box, alice: Api, content_type: str) -> None:
    body = json.dumps(app()).encode()
    answer = await box.send("POST", APPS, as_=alice, data=body, headers={"Content-Type": content_type})
    check(answer, 415, "unsupported_media_type", None)


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("application/x-www-form-urlencoded", b"username=alice", 400),
        ("application/x-www-form-urlencoded", b"username=alice&password=%00", 400),
        ("application/x-www-form-urlencoded", b"username=%ff%fe&password=%ff", 401),
        ("application/x-www-form-urlencoded", b"\xff\xfe", 400),
        ("application/x-www-form-urlencoded; charset=klingon", b"username=alice&password=x", 400),
        ("application/x-www-form-urlencoded; charset=utf-16", b"username=alice&password=x", 400),
        ("multipart/form-data", b"no boundary", 400),
        ("multipart/form-data; boundary=x", b"nothing of the kind", 400),
        ("multipart/form-data; boundary=x", b"--x\r\n\r\nno name\r\n--x--\r\n", 400),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="username"\r\n',
            400,
        ),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="username"\r\n\r\n\xff\xfe\r\n--x--\r\n',
            400,
        ),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="password"; filename="x"\r\n\r\nhello\r\n--x--\r\n',
            400,
        ),
    ],
)
async def test_a_broken_form_is_answered_in_words(
    box: Box, content_type: str, body: bytes, status: int
) -> None:
    answer = await box.send("POST", "/api/v1/auth/login", data=body, headers={"Content-Type": content_type})
    assert answer.status == status, answer.text
    assert answer.json["ok"] is False


@pytest.mark.parametrize(
    "query",
    ["lines=0", "lines=-1", "lines=2001", "lines=", "lines=ten", "lines=1.5", "lines=1e3", "lines=٣", "lines=²",
     "lines=0x10", "lines=%201", "lines=1%0a", "lines=" + "9" * 30, "lines=" + "9" * 5000],
)  # fmt: skip
async def test_a_number_of_lines_is_a_plain_number_in_its_bounds(box: Box, alice: Api, query: str) -> None:
    await alice.create("diary")
    for more in ("", "&follow=1"):
        answer = await box.send("GET", f"{APPS}/alice/diary/logs?{query}{more}", as_=alice)
        check(answer, 400, "bad_lines", "lines")


@pytest.mark.parametrize("last", ["-1", "x", "", "9" * 30, "9" * 5000, "1.5", "²"])
async def test_an_odd_last_event_id_means_from_wherever_it_makes_sense(
    box: Box, alice: Api, last: str
) -> None:
    answer = await alice.call("POST", APPS, app())
    await alice.ended(answer["operation"]["id"])
    events = await alice.events(answer["operation"]["id"], last)
    assert [event["event"] for event in events][-1:] == ["ended"]


@pytest.mark.parametrize(
    "userid",
    ["%ff", "%ED%A0%80", "%00", "a%2fb", "..%2f..", "%25", "'%20OR%201=1--", "%EA%B0%80", "x" * 3000],
)
async def test_odd_names_in_an_address_are_not_found(box: Box, alice: Api, userid: str) -> None:
    for path in (f"{APPS}/{userid}/diary", f"{APPS}/alice/{userid}", f"/api/v1/operations/{userid}"):
        async with alice._session.get(
            URL(box.url + path, encoded=True), headers={"Authorization": f"Bearer {alice.token}"}
        ) as response:
            answer = Answer(response.status, response.headers, await response.text())
        check(answer, 404, "not_found", None)


async def test_a_repeated_key_is_the_last_one(box: Box, alice: Api) -> None:
    body = b'{"appname": "!", "appname": "diary", "templateId": "nothing"}'
    answer = await box.send("POST", APPS, as_=alice, data=body, headers=JSON)
    check(answer, 400, "unknown_template", "templateId")


async def test_a_json_body_may_name_its_encoding(box: Box, alice: Api) -> None:
    headers = {"Content-Type": "application/json; charset=utf-8"}
    answer = await box.send("POST", APPS, as_=alice, data=json.dumps(app()).encode(), headers=headers)
    assert answer.status == 202
