"""Formatting and links as Telegram reads them: what comes out, and its words for what does not parse."""

import pytest

from tests.far_ends.telegram_html import parse_html
from tests.far_ends.telegram_links import WrongLink, normal_link
from tests.far_ends.telegram_markdown import parse_markdown_v2
from tests.far_ends.telegram_text import WrongEntities, settled


@pytest.mark.parametrize(
    ("source", "plain", "entities"),
    [
        ("a <b>b <i>c</i></b>", "a b c", [("bold", 2, 3), ("italic", 4, 1)]),
        ("😀<code>x</code>", "😀x", [("code", 2, 1)]),
        ("&lt;&amp;&quot;&gt;&#44032;&copy;&", '<&">가&copy;&', []),
        ("<a href='https://a.example/?x=1&amp;y'>l</a>", "l", [("text_link", 0, 1)]),
        ("<a href='http://localhost:1'>l</a>", "l", []),
        (
            '<span class="tg-spoiler">s</span><tg-spoiler>t</tg-spoiler>',
            "st",
            [("spoiler", 0, 1), ("spoiler", 1, 1)],
        ),
        ('<pre><code class="language-py">x</code></pre>', "x", [("pre", 0, 1)]),
        ("<blockquote expandable>q</blockquote>", "q", [("expandable_blockquote", 0, 1)]),
        ("<b>x<code>y</code></b>", "xy", [("bold", 0, 1), ("code", 1, 1)]),
        (" \n<b>x</b>  ", "x", [("bold", 0, 1)]),
        ("see /help and #tag", "see /help and #tag", [("bot_command", 4, 5), ("hashtag", 14, 4)]),
    ],
)
def test_html(source: str, plain: str, entities: list[tuple[str, int, int]]) -> None:
    formatted = settled(parse_html(source))
    assert formatted.text == plain
    assert [(entity.type, entity.offset, entity.length) for entity in formatted.entities] == entities


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("가<b>x", 'Can\'t find end tag corresponding to start tag "b"'),
        ("가<p>x</p>", 'Unsupported start tag "p" at byte offset 3'),
        ("a < b", 'Unsupported start tag "" at byte offset 2'),
        ("<b>x</i>", 'Unmatched end tag at byte offset 4, expected "</b>", found "</i>"'),
        ("x</b>", "Unexpected end tag at byte offset 1"),
        ("<b", "Unclosed start tag at byte offset 0"),
        ("<b>x</b", "Unclosed end tag at byte offset 4"),
        ("<span>x</span>", 'Tag "span" must have class "tg-spoiler" at byte offset 0'),
        ("<tg-emoji emoji-id='x'>x</tg-emoji>", "Invalid custom emoji identifier specified"),
    ],
)
def test_broken_html(source: str, complaint: str) -> None:
    with pytest.raises(WrongEntities) as caught:
        parse_html(source)
    assert str(caught.value) == complaint


def test_markdown() -> None:
    formatted = parse_markdown_v2(
        "*b _i_* __u__ ~s~ ||h|| `c` [l](https://a.example/\\)) \\.\n```py\nx```\n>q"
    )
    kinds = [(entity.type, entity.offset, entity.length) for entity in formatted.entities]
    assert formatted.text == "b i u s h c l .\nx\nq"
    assert kinds[:4] == [("italic", 2, 1), ("bold", 0, 3), ("underline", 4, 1), ("strikethrough", 6, 1)]
    assert [kind for kind, _, _ in kinds[4:]] == ["spoiler", "code", "text_link", "pre", "blockquote"]


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("Done.", r"Character '.' is reserved and must be escaped with the preceding '\'"),
        ("가 *x", "Can't find end of Bold entity at byte offset 4"),
        ("[x](https://a.example", "Can't find end of a URL at byte offset 4"),
        ("![x](https://a.example)", "Invalid tg://emoji or tg://time URL specified"),
    ],
)
def test_broken_markdown(source: str, complaint: str) -> None:
    with pytest.raises(WrongEntities) as caught:
        parse_markdown_v2(source)
    assert str(caught.value) == complaint


def test_markdown_underline_in_italic_and_expandable_quote() -> None:
    nested = parse_markdown_v2("_a __b__ c_")
    assert [(entity.type, entity.offset, entity.length) for entity in nested.entities] == [
        ("underline", 2, 1),
        ("italic", 0, 5),
    ]
    quote = parse_markdown_v2(">a\n>b||\nc")
    assert [(entity.type, entity.length) for entity in quote.entities] == [("expandable_blockquote", 3)]
    assert quote.text == "a\nb\nc"


@pytest.mark.parametrize(
    ("link", "stored"),
    [
        ("Mina.Example.com", "http://mina.example.com/"),
        ("HTTPS://me@A.example:8443?x=1", "https://me@a.example:8443/?x=1"),
        ("http://127.0.0.1:8080/a b", "http://127.0.0.1:8080/a%20b"),
        ("http://[::1]:80", "http://[::1]:80/"),
        ("tg://resolve?domain=x", "tg://resolve?domain=x"),
    ],
)
def test_links(link: str, stored: str) -> None:
    assert normal_link(link) == stored


@pytest.mark.parametrize(
    ("link", "complaint"),
    [
        ("http://localhost", "Wrong HTTP URL"),
        ("http://a.example:0", "Wrong port number specified in the URL"),
        ("http://", "URL host is empty"),
        ("http://a b.example", "Disallowed character in URL host"),
        ("javascript://a.example", "Unsupported URL protocol"),
    ],
)
def test_wrong_links(link: str, complaint: str) -> None:
    with pytest.raises(WrongLink) as caught:
        normal_link(link)
    assert str(caught.value) == complaint
