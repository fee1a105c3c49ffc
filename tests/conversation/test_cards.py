"""One's things: the list, the card of each, its log and key, changing and deleting it."""

from __future__ import annotations

import pytest

from bot.conversation.model import ChangeApp, LookAt, ReadLogs
from engine.domain import Kind, OpState, Phase
from engine.errors import Conflict, MadangError, NotFound, OverQuota, Transient
from tests.conversation.pure import NOW, Person, app_view, buttons, labels, operation, words

DIARY = app_view("diary", owner_key="the-key")


def test_nothing_yet() -> None:
    screen = Person().say("/apps")
    assert "You have nothing yet." in screen.text
    assert labels(screen) == ["✨ Make something", "Menu"]


def test_the_list_shows_how_each_is_and_the_trash_last() -> None:
    person = Person(
        app_view("old", Phase.TRASHED),
        DIARY,
        app_view("home", Phase.STOPPED, template="homepage-v1"),
        app_view("new", busy=operation(Kind.RESTART, "new")),
    )
    assert labels(person.say("/apps")) == [
        "🟢 일기장 (diary)", "⚪ home", "🔄 일기장 (new)", "🗑 일기장 (old)", "✨ Make something", "Menu",
    ]  # fmt: skip
    assert "🟢 diary · ⚪ home · 🔄 new" in person.say("/menu").text
    assert person.say("/apps").title == "My things"


def test_a_long_list_has_pages() -> None:
    person = Person(*(app_view(f"app{i:02}") for i in range(20)))
    assert labels(person.say("/apps"))[7:] == ["🟢 일기장 (app07)", "▶", "✨ Make something", "Menu"]
    assert labels(person.press("▶"))[7:10] == ["🟢 일기장 (app15)", "◀", "▶"]
    assert person.act(None).text.startswith("That button is from earlier.")
    assert labels(person.screen)[0] == "🟢 일기장 (app08)"
    assert labels(person.press("▶"))[:5] == [*(f"🟢 일기장 (app{i})" for i in range(16, 20)), "◀"]
    old = person.button("◀")
    person.apps = person.apps[:3]
    assert labels(person.push(old)) == [
        *(f"🟢 일기장 (app0{i})" for i in range(3)),
        "✨ Make something",
        "Menu",
    ]
    person.say("/menu")
    assert "…" in Person(*(app_view(f"app{i:02}") for i in range(20))).say("/menu").text


@pytest.mark.parametrize(
    ("phase", "standing", "expected"),
    [
        (Phase.LIVE, "🟢 Running", ["Open", "🔑 Key link", "Stop", "Restart", "Logs", "Delete"]),
        (Phase.ASLEEP, "🌙 Asleep", ["Open", "🔑 Key link", "Stop", "Restart", "Logs", "Delete"]),
        (Phase.STOPPED, "⚪ Stopped", ["Start", "Logs", "Delete"]),
        (Phase.FAILED, "🔴 Not well", ["Start", "Logs", "Delete"]),
        (Phase.PENDING, "⏳ Being made", ["Start", "Logs", "Delete"]),
        (Phase.TRASHED, "🗑 In the trash", ["Restore", "Delete for good"]),
    ],
)
def test_a_card_for_each_phase(phase: Phase, standing: str, expected: list[str]) -> None:
    person = Person(app_view("diary", phase, owner_key="the-key"))
    screen = person.say("diary")
    assert person.commands == [LookAt("id-diary")]
    assert screen.title == "📔 일기장 (diary)"
    assert screen.text.startswith(standing)
    assert ("http://minji-diary.example.com" in screen.text) == (phase is not Phase.TRASHED)
    assert labels(screen) == [*expected, "🌱 My things", "Refresh"]
    assert person.press("Refresh").text == screen.text


def test_a_card_in_korean() -> None:
    screen = Person(DIARY, locale="ko").say("일기장 보여줘")
    assert screen.text.splitlines() == ["🟢 실행 중", DIARY.url, "메모리 256MB 중 30MB · CPU 1.2%"]
    assert labels(screen) == [
        "열기",
        "🔑 열쇠 링크",
        "중지",
        "재시작",
        "로그",
        "삭제",
        "🌱 내가 만든 것",
        "새로 고침",
    ]


def test_use_is_shown_while_it_runs() -> None:
    person = Person(DIARY)
    assert "Memory 30 of 256 MB · CPU 1.2 %" in person.say("diary").text
    person.stats = None
    assert "Memory" not in person.say("diary").text


def test_a_card_whose_use_cannot_be_read() -> None:
    person = Person(DIARY)
    person.refusal = Transient("runtime_down")
    assert person.say("diary").text == f"🟢 Running\n{DIARY.url}"


def test_the_card_of_something_open_to_all() -> None:
    person = Person(app_view("home", template="homepage-v1"))
    screen = person.say("home")
    assert "🔑 Key link" not in labels(screen)
    assert buttons(screen)[0].url == "http://minji-home.example.com"
    assert person.act({"do": "key", "app": "id-home"}).title == "🏡 home"


def test_a_busy_card_offers_the_progress() -> None:
    person = Person(app_view("diary", busy=operation(Kind.RESTART)))
    screen = person.say("diary")
    assert screen.text.startswith("🔄 Restarting …")
    assert labels(screen) == ["Show progress", "Logs", "🌱 My things", "Refresh"]
    assert person.press("Show progress").watch == "operation-restart-diary"


@pytest.mark.parametrize(
    ("failure", "text"),
    [
        ("app_crashed", "The program ended right after its start."),
        ("app_not_ready", "It could not be started. Its log may say why."),
        ("route_not_open", "The address did not open in time."),
        ("disk_full", "The disk is full."),
        ("no_such_code", "Something went wrong on our side."),
    ],
)
def test_why_it_is_not_well(failure: str, text: str) -> None:
    person = Person(app_view("diary", Phase.FAILED, failure=failure))
    screen = person.say("diary")
    assert text in screen.text
    assert "?" not in screen.text
    assert "Press “Start” to try it again." in screen.text


def test_how_long_it_stays_in_the_trash() -> None:
    person = Person(app_view("diary", Phase.TRASHED, trashed_at=NOW))
    assert "until March 31, 2026" in person.say("diary").text
    person.pass_time(days=10)
    assert "until March 31, 2026" in person.say("diary").text
    person.trash_days = 0
    assert "until you delete it for good" in person.say("diary").text
    person = Person(app_view("diary", Phase.TRASHED, trashed_at=NOW), locale="ko")
    assert "2026년 3월 31일까지" in person.say("diary").text


def test_the_key_link_is_easy_to_get_again() -> None:
    person = Person(DIARY)
    person.say("diary")
    screen = person.press("Key link")
    assert screen.code == f"{DIARY.url}/#key=the-key"
    assert "Whoever has the link can read everything" in screen.text
    assert buttons(screen)[0].url == screen.code
    assert person.press("Details").title == "📔 일기장 (diary)"


# --- the log


def test_the_log() -> None:
    person = Person(DIARY)
    person.say("diary")
    assert person.press("Logs").text == "It has not said anything yet."
    person.log = "one\ntwo <script> {name}\n\n"
    screen = person.press("Refresh")
    assert person.commands[-1] == ReadLogs("id-diary", 40)
    assert screen.code == "one\ntwo <script> {name}"
    assert screen.title == "Log of diary"
    assert screen.text == "The newest lines, at most 40:"
    assert labels(screen) == ["Refresh", "Details", "🌱 My things", "Menu"]


def test_a_log_that_cannot_be_read() -> None:
    person = Person(DIARY)
    person.refusal = Transient("runtime_down")
    screen = person.say("/logs diary")
    assert labels(screen) == ["Try again", "Details", "Menu"]
    assert person.press("Try again").title == "Log of diary"
    person.refusal = NotFound("not_found")
    person.apps = []
    assert person.press("Refresh").text == "It is not there any more."


# --- changing


@pytest.mark.parametrize(
    ("button", "kind", "title"),
    [("Stop", Kind.STOP, "Stopping diary …"), ("Restart", Kind.RESTART, "Restarting diary …")],
)
def test_changing(button: str, kind: Kind, title: str) -> None:
    person = Person(DIARY)
    person.say("diary")
    screen = person.press(button)
    assert person.commands[-1] == ChangeApp("id-diary", kind)
    assert screen.title == title
    assert screen.again
    assert screen.watch == f"operation-{kind}-diary"


@pytest.mark.parametrize(
    ("error", "helps"),
    [
        (Transient("runtime_down"), ["Try again", "Details", "Menu"]),
        (Conflict("busy"), ["Try again", "Details", "Menu"]),
        (Conflict("in_trash", name="diary"), ["Restore", "Details", "Menu"]),
        (Conflict("not_in_trash", name="diary"), ["Details", "Menu"]),
        (OverQuota("app_quota", used=3, limit=3, requested=1), ["Details", "🌱 My things", "Menu"]),
    ],
)
def test_a_change_that_is_refused(error: MadangError, helps: list[str]) -> None:
    person = Person(DIARY)
    person.refusal = error
    screen = person.say("restart diary")
    assert screen.title == "That did not work"
    assert "Reference: 0f1e2d3c" in screen.text
    assert labels(screen) == helps


def test_buttons_of_something_that_is_gone() -> None:
    person = Person(DIARY)
    person.say("diary")
    old = [button for button in buttons(person.screen) if button.action]
    person.apps = []
    for button in old:
        if button.label != "🌱 My things":
            assert person.push(button).text == "It is not there any more."
    assert labels(person.screen) == ["🌱 My things", "Menu"]


def test_something_that_goes_away_while_it_is_asked_for() -> None:
    person = Person(DIARY)
    person.say("diary")
    stop = person.button("Stop")
    person.refusal = NotFound("not_found")
    screen = person.push(stop)
    assert screen.title == "That did not work"
    assert labels(screen) == ["Try again", "Details", "🌱 My things", "Menu"]


# --- deleting


def test_deleting() -> None:
    person = Person(DIARY)
    person.say("diary")
    screen = person.press("Delete")
    assert screen.title == "Delete diary?"
    assert "Its address closes and its program ends." in screen.text
    assert "until March 31, 2026" in screen.text
    assert "To confirm, type its name: diary" in screen.text
    assert screen.ask is not None
    assert labels(screen) == ["Keep it"]
    assert person.say("diary").title == "Putting diary into the trash …"
    assert person.commands[-1] == ChangeApp("id-diary", Kind.TRASH)


@pytest.mark.parametrize("text", ["diary", " Diary ", "“diary”", "diary.", "'diary'"])
def test_the_name_typed_deletes(text: str) -> None:
    person = Person(DIARY)
    person.say("/delete diary")
    person.say(text)
    assert person.commands == [ChangeApp("id-diary", Kind.TRASH)]


@pytest.mark.parametrize(
    "text", ["dairy", "delete", "x" * 10_000, "diary diary", "🗑", "일기장", "delete diary", ""]
)
def test_anything_else_does_not(text: str) -> None:
    person = Person(DIARY)
    person.say("/delete diary")
    screen = person.say(text)
    assert screen.text.startswith("That is not its name, so nothing was deleted.")
    assert person.commands == []
    assert person.say("diary").title == "Putting diary into the trash …"


@pytest.mark.parametrize("text", ["/cancel", "cancel", "취소", "no", "아니요", "그만"])
def test_thinking_better_of_it(text: str) -> None:
    person = Person(DIARY)
    person.say("/delete diary")
    assert person.say(text).title == "All right, nothing was deleted."
    person.say("diary")
    assert person.commands == [LookAt("id-diary")]


def test_keep_it_leads_back_to_the_card() -> None:
    person = Person(DIARY)
    person.say("/delete diary")
    assert person.press("Keep it").title == "📔 일기장 (diary)"


@pytest.mark.parametrize("how", ["name", "begin", "unknown button", "wrong name"])
def test_it_expires_after_five_minutes(how: str) -> None:
    person = Person(DIARY)
    person.say("/delete diary")
    person.pass_time(minutes=4, seconds=59)
    assert person.begin().title == "Delete diary?"
    person.pass_time(seconds=2)
    match how:
        case "name":
            person.say("diary")
        case "begin":
            person.begin()
        case "unknown button":
            person.act(None)
        case "wrong name":
            person.say("dairy")
    assert "More than five minutes have gone by, so nothing was deleted." in person.screen.text
    assert person.commands == []
    assert labels(person.screen) == ["Delete", "Details", "Menu"]
    person.say("diary")
    assert person.commands == [LookAt("id-diary")]


def test_deleting_from_the_trash_is_for_good() -> None:
    person = Person(app_view("diary", Phase.TRASHED))
    person.say("diary")
    screen = person.press("Delete for good")
    assert screen.title == "Delete diary for good?"
    assert "Nobody can bring it back." in screen.text
    assert person.say("diary").title == "Deleting diary for good …"
    assert person.commands[-1] == ChangeApp("id-diary", Kind.PURGE)


@pytest.mark.parametrize("name", ["menu", "help", "cancel", "yes"])
def test_things_with_the_names_of_commands(name: str) -> None:
    person = Person(app_view(name))
    person.say(f"/delete {name}")
    person.say(name)
    assert person.commands == [ChangeApp(f"id-{name}", Kind.TRASH)]


def test_it_is_gone_before_the_name_is_typed() -> None:
    person = Person(DIARY)
    person.say("/delete diary")
    person.apps = []
    assert person.say("diary").text == "It is not there any more."


def test_restoring() -> None:
    person = Person(app_view("diary", Phase.TRASHED))
    person.say("diary")
    assert person.press("Restore").title == "Restoring diary …"
    person.apps = [DIARY]
    assert person.news(operation(Kind.RESTORE, state=OpState.SUCCEEDED)).title == "diary is back"


def test_unknown_buttons_redraw_where_the_person_stands() -> None:
    person = Person(DIARY)
    person.begin()
    for place, title in (("/apps", "My things"), ("diary", "📔 일기장 (diary)"), ("/delete diary", "Delete diary?"),
                         ("/settings", "Settings"), ("/help", "Help"), ("/new", "What shall I make?"),
                         ("/menu", "What shall we do?")):  # fmt: skip
        person.say(place)
        assert person.act(None).title == title, words(person.screen)
