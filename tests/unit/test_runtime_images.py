"""What images are made of, and how it is asked for."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from runtime.base import DEFAULT_SUITE, Recipe, mirrors_in, recipe, trim
from runtime.images import content_hash, pip_command
from runtime.logs import Lines
from runtime.readiness import request, status_in

DEB822 = """\
Types: deb
# a comment
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main

Types: deb
URIs: http://security.example/debian-security
Suites: bookworm-security
"""


def test_mirrors_are_found_in_either_form_of_apts_sources() -> None:
    assert mirrors_in(DEB822, "bookworm") == ["http://mirror.example/debian"]
    lines = "# deb http://no.example x main\ndeb [signed-by=/k] https://yes.example/ubuntu noble main\ndeb http://s noble-security main\n"
    assert mirrors_in(lines, "noble") == ["https://yes.example/ubuntu"]


def test_a_debian_host_lends_its_own_suite_and_mirror(tmp_path: Path) -> None:
    (tmp_path / "os-release").write_text('ID=debian\nVERSION_CODENAME="bookworm"\n')
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d" / "debian.sources").write_text(DEB822)
    assert recipe(tmp_path / "os-release", tmp_path) == Recipe("bookworm", "http://mirror.example/debian")


def test_a_host_of_another_family_gets_debian(tmp_path: Path) -> None:
    (tmp_path / "os-release").write_text("ID=fedora\nVERSION_CODENAME=\n")
    assert recipe(tmp_path / "os-release", tmp_path) == Recipe(DEFAULT_SUITE)
    assert recipe(tmp_path / "nothing", tmp_path) == Recipe(DEFAULT_SUITE)


def test_trimming_keeps_what_runs(tmp_path: Path) -> None:
    for file in (
        "usr/share/doc/a/b",
        "var/lib/apt/lists/x",
        "usr/bin/python3",
        "usr/share/zoneinfo/Asia/Seoul",
    ):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    trim(tmp_path)
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {"usr/bin/python3", "usr/share/zoneinfo/Asia/Seoul"}


def test_an_images_tag_follows_its_contents(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch")
    first = content_hash(tmp_path, "sha256:1")
    assert first == content_hash(tmp_path, "sha256:1")
    assert first != content_hash(tmp_path, "sha256:2")
    (tmp_path / "entry.py").write_text("")
    assert first != content_hash(tmp_path, "sha256:1")


def test_packages_are_collected_as_wheels_for_the_images_python() -> None:
    command = pip_command(Path("r.txt"), Path("t"), "3.13")
    assert command[:4] == (sys.executable, "-m", "pip", "install")
    assert "--only-binary=:all:" in command
    assert command[command.index("--python-version") + 1] == "3.13"
    assert command[-2:] == ("-r", "r.txt")


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"HTTP/1.1 200 OK\r\n", 200),
        (b"HTTP/1.0 503\r\n", 503),
        (b"SSH-2.0-x 200\r\n", None),
        (b"HTTP/1.1 abc\r\n", None),
        (b"", None),
    ],
)
def test_a_status_is_read_from_an_answer(line: bytes, status: int | None) -> None:
    assert status_in(line) == status


def test_the_question_is_plain_http() -> None:
    assert request("10.1.0.17", 3000, "/health") == (
        b"GET /health HTTP/1.1\r\nHost: 10.1.0.17:3000\r\nUser-Agent: madang\r\nConnection: close\r\n\r\n"
    )


def test_lines_are_put_together_from_pieces_of_lines_and_characters() -> None:
    lines, text = Lines(), "안녕\r\nbye\nrest".encode()
    seen = [line for byte in text for line in lines.fed(bytes([byte]))]
    assert (seen, lines.rest) == (["안녕", "bye"], "rest")


def test_a_line_without_end_is_cut() -> None:
    lines = Lines()
    assert [len(line) for line in lines.fed(b"x" * 100_000)] == [100_000]
    assert lines.rest == ""
