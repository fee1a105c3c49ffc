"""App folders: whole or not there, never somebody else's, and nothing left behind."""

from __future__ import annotations

import errno
import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from engine.domain import App
from engine.errors import Broken, Conflict, Transient
from engine.folders import Folders
from tests.support.worlds import an_account, an_app

ALICE = an_account("alice")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A template's files."""
    folder = tmp_path / "template" / "app"
    (folder / "public").mkdir(parents=True)
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "main.pyc").write_bytes(b"stale")
    (folder / "main.py").write_text("print('hello {{ title }}')\n")
    (folder / "public" / "index.html.j2").write_text("<h1>{{ title }}</h1>\n")
    (folder / "public" / "notes.txt.j2").write_text("{{ title }}\n")
    (folder / "public" / "empty").mkdir()
    return folder


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    made = Folders(tmp_path / "apps")
    made.prepare()
    return made


def lay_out(folders: Folders, app: App, source: Path, **values: Any) -> Path:
    return folders.lay_out(app, source, {"title": "A <title>"} | values, "services: {}\n").path


def left_in(root: Path) -> list[str]:
    """Everything below the root but an empty staging folder."""
    return sorted(str(p.relative_to(root)) for p in root.rglob("*") if p != root / ".staging")


def test_it_holds_code_data_logs_and_a_compose_file(folders: Folders, source: Path, tmp_path: Path) -> None:
    path = lay_out(folders, an_app(ALICE, "diary"), source)
    assert path == tmp_path / "apps" / "alice" / "diary"
    assert (path / "docker-compose.yml").read_text() == "services: {}\n"
    assert list((path / "data").iterdir()) == list((path / "logs").iterdir()) == []
    assert (path / "code" / "main.py").read_text() == "print('hello {{ title }}')\n"
    assert (path / "code" / "public" / "empty").is_dir()
    assert not list(path.rglob("__pycache__"))


def test_what_a_person_wrote_is_escaped_in_pages_and_only_there(folders: Folders, source: Path) -> None:
    code = lay_out(folders, an_app(ALICE), source, title="<script>alert(1)</script>") / "code" / "public"
    assert (code / "index.html").read_text() == "<h1>&lt;script&gt;alert(1)&lt;/script&gt;</h1>\n"
    assert (code / "notes.txt").read_text() == "<script>alert(1)</script>\n"


def test_what_a_person_wrote_is_never_taken_for_a_template(folders: Folders, source: Path) -> None:
    code = lay_out(folders, an_app(ALICE), source, title="{{ 7 * 7 }}{% raw %}") / "code" / "public"
    assert (code / "notes.txt").read_text() == "{{ 7 * 7 }}{% raw %}\n"


def test_a_second_time_changes_nothing(folders: Folders, source: Path) -> None:
    app = an_app(ALICE)
    path = lay_out(folders, app, source)
    (path / "data" / "db.sqlite3").write_text("precious")
    (path / "code" / "main.py").write_text("edited")
    lay_out(folders, app, source)
    assert (path / "data" / "db.sqlite3").read_text() == "precious"
    assert (path / "code" / "main.py").read_text() == "edited"


@pytest.mark.parametrize(
    "marker", [None, "", "not json", "[]", '"text"', "{}", '{"app": "another"}', '{"app": null}']
)
def test_a_folder_that_is_not_this_apps_is_never_touched(
    folders: Folders, source: Path, tmp_path: Path, marker: str | None
) -> None:
    app = an_app(ALICE, "diary")
    strange = tmp_path / "apps" / "alice" / "diary"
    strange.mkdir(parents=True)
    (strange / "thesis.txt").write_text("years of work")
    if marker is not None:
        (strange / ".madang.json").write_text(marker)
    with pytest.raises(Conflict) as refused:
        lay_out(folders, app, source)
    assert refused.value.params == {"path": str(strange)}
    folders.remove(app)
    assert (strange / "thesis.txt").read_text() == "years of work"


def test_removing_takes_everything_of_it_and_nothing_else(
    folders: Folders, source: Path, tmp_path: Path
) -> None:
    diary, other = an_app(ALICE, "diary"), an_app(ALICE, "other")
    lay_out(folders, diary, source)
    kept = lay_out(folders, other, source)
    folders.remove(diary)
    assert kept.is_dir()
    folders.remove(other)
    assert left_in(tmp_path / "apps") == []


def test_removing_what_is_not_there_is_no_error(folders: Folders, tmp_path: Path) -> None:
    folders.remove(an_app(ALICE))
    assert left_in(tmp_path / "apps") == []


def test_a_removal_that_was_interrupted_is_finished_by_the_next(
    folders: Folders, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = an_app(ALICE)
    lay_out(folders, app, source)
    real = shutil.rmtree

    def refuses_once(path: Any, *args: Any, **more: Any) -> None:
        if str(path).endswith(".gone"):
            monkeypatch.setattr(shutil, "rmtree", real)
            raise OSError(errno.EBUSY, "busy", str(path))
        real(path, *args, **more)

    monkeypatch.setattr(shutil, "rmtree", refuses_once)
    with pytest.raises(Transient):
        folders.remove(app)
    folders.remove(app)
    assert left_in(tmp_path / "apps") == []


def burrow(folder: Path, depth: int = 1500) -> None:
    """Folders within one another, more than a path can name."""
    handle = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=handle)
        deeper = os.open("d", os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = deeper
    os.close(handle)


def test_an_app_that_dug_itself_in_is_removed_all_the_same(
    folders: Folders, source: Path, tmp_path: Path
) -> None:
    app, treasure = an_app(ALICE), tmp_path / "treasure"
    data = lay_out(folders, app, source) / "data"
    treasure.mkdir()
    (treasure / "coin").write_text("gold")
    (data / "link").symlink_to(treasure)
    burrow(data)
    folders.remove(app)
    assert left_in(tmp_path / "apps") == []
    assert (treasure / "coin").read_text() == "gold"


def test_what_an_app_dug_does_not_keep_madang_from_starting(tmp_path: Path) -> None:
    half = tmp_path / "apps" / ".staging" / "someone.gone"
    half.mkdir(parents=True)
    burrow(half)
    Folders(tmp_path / "apps").prepare()
    assert left_in(tmp_path / "apps") == []


def test_what_is_kept_in_an_app_is_for_no_other_person_of_the_machine(folders: Folders, source: Path) -> None:
    path = lay_out(folders, an_app(ALICE), source)
    assert [(path / part).stat().st_mode & 0o777 for part in ("data", "logs")] == [0o700, 0o700]


@pytest.mark.parametrize("before", [None, "services: {app: old}\n"])
def test_the_compose_file_is_brought_up_to_date(folders: Folders, source: Path, before: str | None) -> None:
    app = an_app(ALICE)
    path = lay_out(folders, app, source)
    (path / "docker-compose.yml").unlink()
    if before is not None:
        (path / "docker-compose.yml").write_text(before)
    folders.keep_compose(app, "services: {app: new}\n")
    assert (path / "docker-compose.yml").read_text() == "services: {app: new}\n"
    assert not list(path.glob("*.new"))


def test_a_layout_that_was_interrupted_is_cleared_at_the_start(source: Path, tmp_path: Path) -> None:
    half = tmp_path / "apps" / ".staging" / "someone" / "code"
    half.mkdir(parents=True)
    (half / "main.py").write_text("half")
    Folders(tmp_path / "apps").prepare()
    assert left_in(tmp_path / "apps") == []


@pytest.mark.parametrize(
    ("number", "family", "code"),
    [
        (errno.ENOSPC, Broken, "disk_full"), (errno.EDQUOT, Broken, "disk_full"),
        (errno.EMFILE, Transient, "temporarily_unavailable"), (errno.EACCES, Broken, "folder_failed"),
    ],
)  # fmt: skip
def test_a_layout_that_fails_says_why_and_leaves_nothing(
    folders: Folders, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    number: int, family: type[Exception], code: str,
) -> None:  # fmt: skip
    def refuses(_: Any, place: Any) -> None:
        raise OSError(number, os.strerror(number), str(place))

    monkeypatch.setattr(shutil, "copyfile", refuses)
    with pytest.raises(family) as refused:
        lay_out(folders, an_app(ALICE), source)
    assert getattr(refused.value, "code", None) == code
    assert left_in(tmp_path / "apps") == []


def test_apps_of_one_person_come_and_go_at_the_same_time(
    folders: Folders, source: Path, tmp_path: Path
) -> None:
    """The person's own folder goes with the last app, while the next one is being put into it."""
    apps = [an_app(ALICE, f"app{number}") for number in range(16)]

    def come_and_go(app: App) -> None:
        for _ in range(40):
            lay_out(folders, app, source)
            folders.remove(app)

    with ThreadPoolExecutor(len(apps)) as pool:
        list(pool.map(come_and_go, apps))
    assert left_in(tmp_path / "apps") == []


def test_settling_sends_every_file_of_the_code_to_the_disk(
    folders: Folders, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = an_app(ALICE)
    path = lay_out(folders, app, source)
    synced: set[str] = set()
    real = os.fsync

    def sync(handle: int) -> None:
        synced.add(str(Path(f"/proc/self/fd/{handle}").readlink()))
        real(handle)

    monkeypatch.setattr(os, "fsync", sync)
    folders.settle(app)
    wanted = {
        path,
        path.parent,
        path / "docker-compose.yml",
        path / ".madang.json",
        *(path / "code").rglob("*"),
    }
    assert {str(one) for one in wanted} <= synced


def test_settling_a_folder_that_is_gone_is_the_operators_business(folders: Folders) -> None:
    with pytest.raises(Broken) as refused:
        folders.settle(an_app(ALICE))
    assert refused.value.code == "folder_failed"


def test_the_marker_names_the_app(folders: Folders, source: Path) -> None:
    app = an_app(ALICE)
    marker = json.loads((lay_out(folders, app, source) / ".madang.json").read_text())
    assert marker == {"app": app.id, "template": "homepage-v1"}
