"""What a screen becomes for Telegram, value by value; its own reader of HTML and its limits judge the long ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from bot.conversation.model import ProgressStep
from bot.talk import Shown, ShownButton
from bot.telegram_render import LABEL_MAX, TEXT_UNITS_MAX, has_button, payload, units
from tests.far_ends.telegram_html import parse_html
from tests.far_ends.telegram_text import Formatted, settled, utf16_length


def shown(
    text: str = "",
    *,
    title: str = "",
    code: str = "",
    rows: Sequence[Sequence[ShownButton]] = (),
    progress: Sequence[ProgressStep] = (),
    elapsed_s: float | None = None,
    locale: str = "en",
) -> Shown:
    return Shown(text, title, code, rows, None, progress, elapsed_s, locale)


def does(label: str, button_id: str = "s.0") -> ShownButton:
    return ShownButton(label, button_id, None, "default")


def opens(label: str, url: str) -> ShownButton:
    return ShownButton(label, None, url, "primary")


def text_of(screen: Shown) -> str:
    text = payload(screen)["text"]
    assert isinstance(text, str)
    return text


def read(screen: Shown) -> Formatted:
    """As a person sees it."""
    return settled(parse_html(text_of(screen)))


def test_a_plain_screen() -> None:
    assert payload(shown("What shall we do?")) == {
        "text": "What shall we do?",
        "parse_mode": "HTML",
        "link_preview_options": {"is_disabled": True},
    }


def test_a_whole_screen() -> None:
    screen = shown(
        "It is <b>yours</b> & runs",
        title="diary <1>",
        code='if a < b && c:\n    print("x")\n',
        rows=(
            (does("Stop", "abc.0"), does("Logs", "abc.1")),
            (opens("Open", "https://d.example.com/?k=1&x=2"),),
        ),
        progress=(
            ProgressStep("Files", "done"),
            ProgressStep("Program <3", "now"),
            ProgressStep("Address", "todo"),
        ),
        elapsed_s=7.9,
    )
    assert payload(screen) == {
        "text": "<b>diary &lt;1&gt;</b>\n\n"
        "It is &lt;b&gt;yours&lt;/b&gt; &amp; runs\n\n"
        "✅ Files\n⏳ Program &lt;3\n▫️ Address\n⏱ 7 s\n\n"
        '<pre>if a &lt; b &amp;&amp; c:\n    print("x")</pre>',
        "parse_mode": "HTML",
        "link_preview_options": {"is_disabled": True},
        "reply_markup": {
            "inline_keyboard": [
                [{"text": "Stop", "callback_data": "abc.0"}, {"text": "Logs", "callback_data": "abc.1"}],
                [{"text": "Open", "url": "https://d.example.com/?k=1&x=2", "style": "primary"}],
            ]
        },
    }


@pytest.mark.parametrize(
    ("elapsed_s", "said"), [(0.0, "⏱ 0 s"), (59.9, "⏱ 59 s"), (60.0, "⏱ 1 min 0 s"), (754.2, "⏱ 12 min 34 s")]
)
def test_elapsed_time(elapsed_s: float, said: str) -> None:
    assert text_of(shown("Making", elapsed_s=elapsed_s)) == f"Making\n\n{said}"


@pytest.mark.parametrize("style", ["default", "primary", "danger"])
def test_styles_are_those_that_telegram_knows(style: Any) -> None:
    button = payload(shown("x", rows=((ShownButton("Do", "a.0", None, style),),)))["reply_markup"][
        "inline_keyboard"
    ][0][0]
    assert button.get("style") == (None if style == "default" else style)


def test_labels_are_cut_to_what_is_readable() -> None:
    rows = ((does("가" * LABEL_MAX), does("나" * (LABEL_MAX + 1))),)
    one, other = payload(shown("x", rows=rows))["reply_markup"]["inline_keyboard"][0]
    assert one["text"] == "가" * LABEL_MAX
    assert other["text"] == "나" * (LABEL_MAX - 1) + "…"


@pytest.mark.parametrize(
    ("url", "button"),
    [
        ("https://diary.example.com", True),
        ("http://8.8.8.8:8080/x", True),
        ("https://t.me/madang_bot?start=hi", True),
        ("http://localhost:8080", False),
        ("http://minji-diary.localhost:8080/?key=1", False),
        ("http://MINJI.LocalHost./", False),
        ("http://127.0.0.1:8080", False),
        ("http://192.168.0.7", False),
        ("http://[::1]:8080", False),
        ("http://box.local", False),
        ("http://box", False),
        ("http://box.example.com:99999", False),
        ("ftp://box.example.com", False),
        ("not an address", False),
    ],
)
def test_where_a_button_may_lead(url: str, button: bool) -> None:  # noqa: FBT001 - a table of cases
    assert has_button(url) is button


def test_a_link_that_telegram_would_refuse_stands_in_the_text() -> None:
    url = "http://minji-diary.localhost:8080/?a=1&b=2"
    made = payload(
        shown("Ready", rows=((opens("Open", url),), (does("Menu"), opens("Site", "https://e.example.com"))))
    )
    assert made["text"] == "Ready\n\nOpen: http://minji-diary.localhost:8080/?a=1&amp;b=2"
    assert made["reply_markup"]["inline_keyboard"] == [
        [
            {"text": "Menu", "callback_data": "s.0"},
            {"text": "Site", "url": "https://e.example.com", "style": "primary"},
        ]
    ]


def test_all_links_can_stand_in_the_text() -> None:
    made = payload(shown("Ready", rows=((opens("Open", "https://e.example.com"),),)), link_buttons=False)
    assert made["text"] == "Ready\n\nOpen: https://e.example.com"
    assert "reply_markup" not in made


def test_there_is_always_something_to_read() -> None:
    assert text_of(shown("", rows=((does("Menu"),),))) == "…"
    assert text_of(shown(" \n", title=" ")) == "…"


def test_half_characters_from_a_log_can_be_sent() -> None:
    assert text_of(shown("\ud83d", code="a\udc80b")) == "?\n\n<pre>a?b</pre>"


def test_long_code_loses_its_beginning() -> None:
    code = "\n".join(f"line {number}" for number in range(2000))
    seen = read(shown("The end of the log:", title="diary", code=code))
    assert utf16_length(seen.text) == TEXT_UNITS_MAX
    head, _, rest = seen.text.partition("…")
    assert head == "diary\n\nThe end of the log:\n\n"
    assert code.endswith(rest)
    assert [entity.type for entity in seen.entities] == ["bold", "pre"]


@pytest.mark.parametrize("letter", ["가", "<", "&", "🌱", "a🌱"])
def test_the_limit_counts_units_after_the_tags_are_read(letter: str) -> None:
    code = letter * 5000
    seen = read(shown("x", code=code))
    assert TEXT_UNITS_MAX - 1 <= utf16_length(seen.text) <= TEXT_UNITS_MAX
    assert code.endswith(seen.text.removeprefix("x\n\n…"))
    assert seen.entities[-1].type == "pre"


def test_what_just_fits_is_whole() -> None:
    code = "🌱" * ((TEXT_UNITS_MAX - 3) // 2)
    assert read(shown("x", code=code)).text == f"x\n\n{code}"
    assert read(shown("xy", code=code)).text == f"xy\n\n{code}"
    assert read(shown("xyz", code=code)).text == f"xyz\n\n…{code[1:]}"


def test_long_words_keep_their_beginning_and_leave_room_for_the_code() -> None:
    seen = read(
        shown("말 " * 5000, title="t" * 1000, code="c" * 5000, rows=((opens("Open", "http://a.localhost"),),))
    )
    assert utf16_length(seen.text) <= TEXT_UNITS_MAX
    title, text, code, link = seen.text.split("\n\n")
    assert (len(title), title[-1]) == (256, "…")
    assert (text[:2], text[-1]) == ("말 ", "…")
    assert (len(code), code[0], code[-1]) == (1024, "…", "c")
    assert link == "Open: http://a.localhost"


def test_units() -> None:
    assert [units(text) for text in ("", "a", "가", "🌱", "👩‍🌾")] == [0, 1, 1, 2, 5]
