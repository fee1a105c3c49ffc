"""The commands: what they say, and how they prepare a machine. apt, dockerd and the like are small scripts here."""

from __future__ import annotations

import ast
import io
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from engine import cli
from engine.cli import chat, check, docker_daemon, packages, search
from engine.cli.cgroups import enabled_controllers, unmounted_hierarchies
from engine.cli.commands import COMMANDS
from engine.cli.docker_daemon import answers, ensure_docker
from engine.cli.faults import sentence
from engine.cli.packages import Program, ensure_packages, missing
from engine.cli.privilege import as_root, become_root
from engine.cli.terminal import Progress, language, padded
from engine.cli.welcome import welcome
from engine.errors import Broken
from engine.words import translator

ROOT = Path(__file__).resolve().parents[2]
EN = translator("en")

# Knows the package "fig"; a file called stale stands for lists that are too old; "busy" for another apt at work.
APT = """\
#!/bin/sh
echo "$*" >> {folder}/apt.log
if rm {folder}/busy 2>/dev/null; then echo "E: Could not get lock /var/lib/dpkg/lock" >&2; exit 100; fi
case "$*" in
  *update) rm -f {folder}/stale ;;
  *install*) [ -e {folder}/stale ] && { echo "E: 404 Not Found" >&2; exit 100; }
     ls {folder}/policy-rc.d >> {folder}/apt.log 2>&1
     for name in "$@"; do case $name in fig|nginx) printf '#!/bin/sh\\n' > {folder}/$name; chmod +x {folder}/$name ;; esac; done ;;
esac
"""
APT_CACHE = """\
#!/bin/sh
shift
for name in "$@"; do case $name in fig|nginx) echo "$name | 1.0 | somewhere" ;; esac; done
"""
FIG = Program("Fig", ("fig",), ("fig",))


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine's folder of programs, with an apt that can install "fig" and "nginx" into it."""
    for name, script in (("apt-get", APT), ("apt-cache", APT_CACHE), ("update-rc.d", APT)):
        add_program(tmp_path, name, script)
    for name in ("env", "sh", "rm", "ls", "chmod", "install"):
        (tmp_path / name).symlink_to(cast("str", shutil.which(name)))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(search, "_MORE_FOLDERS", ())
    monkeypatch.setattr(packages, "as_root", list)
    monkeypatch.setattr(packages, "_POLICY", tmp_path / "policy-rc.d")
    return tmp_path


def add_program(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(script.replace("{folder}", str(folder)))
    (folder / name).chmod(0o755)


def apt_runs(folder: Path) -> list[str]:
    log = folder / "apt.log"
    return log.read_text().splitlines() if log.exists() else []


class TestHelp:
    def test_lists_every_command(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(["help"]) == 0
        shown = capsys.readouterr().out
        assert all(command.usage in shown for command in COMMANDS.values())

    def test_an_unknown_command_is_named_and_answered_with_the_list(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert cli.main(["runn"]) == 2
        shown = capsys.readouterr()
        assert "runn" in shown.err
        assert "madang run" in shown.err
        assert not shown.out


class TestPrograms:
    def test_only_what_is_missing_is_installed(self, machine: Path) -> None:
        ensure_packages([Program("a shell", ("sh",), ("sh",)), FIG])
        assert [run.split()[-1] for run in apt_runs(machine) if "install" in run] == ["fig"]
        assert not missing([FIG])

    def test_where_nothing_is_missing_nothing_runs(self, machine: Path) -> None:
        add_program(machine, "fig", "#!/bin/sh\n")
        ensure_packages([FIG])
        assert apt_runs(machine) == []

    def test_stale_lists_are_fetched_anew(self, machine: Path) -> None:
        (machine / "stale").touch()
        ensure_packages([FIG])
        assert not missing([FIG])

    def test_another_apt_at_work_is_waited_for(self, machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(packages, "_LOCK_PAUSE_S", 0)
        (machine / "busy").touch()
        ensure_packages([FIG])
        assert not missing([FIG])

    def test_a_package_that_is_not_to_be_had_is_named(self, machine: Path) -> None:
        with pytest.raises(Broken) as caught:
            ensure_packages([Program("Plum", ("plum",), ("plum",))])
        assert caught.value.code == "packages_not_installed"
        assert "Plum" in sentence(caught.value, EN)

    def test_what_is_not_needed_may_be_missing(self, machine: Path) -> None:
        ensure_packages([Program("Plum", ("plum",), ("plum",), needed=False)])
        assert not any("update" in run for run in apt_runs(machine))

    def test_without_apt_the_list_of_what_to_install_is_given(self, machine: Path) -> None:
        (machine / "apt-get").unlink()
        with pytest.raises(Broken) as caught:
            ensure_packages([FIG, Program("Plum", ("plum",), ("plum",), needed=False)])
        assert caught.value.code == "packages_missing"
        assert caught.value.params == {"programs": "Fig"}

    def test_nginx_is_installed_without_its_service(self, machine: Path) -> None:
        ensure_packages([Program("nginx", ("nginx",), ("nginx",))])
        runs = apt_runs(machine)
        assert str(machine / "policy-rc.d") in runs, "no policy was in force during the installation"
        assert not (machine / "policy-rc.d").exists()
        assert runs[-1] == "nginx disable"

    def test_a_policy_of_the_machines_own_is_left_alone(self, machine: Path) -> None:
        add_program(machine, "policy-rc.d", "#!/bin/sh\nexit 101\n")
        ensure_packages([Program("nginx", ("nginx",), ("nginx",))])
        assert (machine / "policy-rc.d").read_text() == "#!/bin/sh\nexit 101\n"


class TestDocker:
    @pytest.mark.parametrize(("status", "expected"), [("200 OK", True), ("500 Internal Server Error", False)])
    def test_is_asked_over_its_socket(self, tmp_path: Path, status: str, expected: bool) -> None:  # noqa: FBT001
        with listening(tmp_path / "docker.sock", f"HTTP/1.0 {status}\r\n\r\n".encode()) as host:
            assert answers(host) is expected

    def test_that_is_not_there_does_not_answer(self, tmp_path: Path) -> None:
        assert not answers(f"unix://{tmp_path}/none.sock")

    def test_elsewhere_is_not_ours_to_start(self, tmp_path: Path) -> None:
        with pytest.raises(Broken) as caught:
            ensure_docker(f"unix://{tmp_path}/none.sock", tmp_path / "log", nullcontext)
        assert caught.value.code == "docker_unreachable"

    def test_that_does_not_start_says_why(
        self, tmp_path: Path, machine: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        host = f"unix://{tmp_path}/none.sock"
        add_program(machine, "dockerd", "#!/bin/sh\necho no room for containers >&2\nexit 1\n")
        monkeypatch.setattr(docker_daemon, "_LOCAL_HOSTS", (host,))
        monkeypatch.setattr(docker_daemon, "_SYSTEMD", tmp_path / "none")
        monkeypatch.setattr(docker_daemon, "_PID_FILES", {tmp_path / "docker.pid": "dockerd"})
        monkeypatch.setattr(docker_daemon, "ensure_cgroups", lambda: None)
        (tmp_path / "docker.pid").write_text(
            str(os.getpid())
        )  # another program has the number of a dead daemon
        with pytest.raises(Broken) as caught:
            ensure_docker(host, tmp_path / "log" / "dockerd.log", nullcontext)
        assert "no room for containers" in sentence(caught.value, EN)
        assert not (tmp_path / "docker.pid").exists()


@contextmanager
def listening(path: Path, answer: bytes) -> Iterator[str]:
    """A server on a Unix socket that gives one answer."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"unix://{path}"
        thread.join()


class TestRights:
    def test_root_has_them(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        become_root(["run"], keep=[], notice="")
        assert as_root(["apt-get", "update"]) == ["apt-get", "update"]

    def test_without_sudo_the_command_to_type_is_named(
        self, machine: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        with pytest.raises(Broken) as caught:
            become_root(["run"], keep=[], notice="")
        assert "sudo ./madang run" in sentence(caught.value, EN)

    def test_sudo_gives_them_and_settings_stay_in_force(
        self, machine: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        add_program(machine, "sudo", "#!/bin/sh\n")
        became: list[str] = []
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        monkeypatch.setattr(os, "execvp", lambda _file, command: became.extend(command))
        monkeypatch.setattr(
            os, "environ", {"PATH": str(machine), "PAAS_ROOT": "/srv/x", "HOME": "/home/alice"}
        )
        become_root(["run"], keep=["PAAS_ROOT", "PAAS_BIND"], notice="")
        assert became[:3] == ["sudo", "-n", "--preserve-env=PAAS_ROOT"]
        assert became[-3:] == ["-m", "engine.cli", "run"]


def test_hierarchies_in_use_without_a_mount_are_found() -> None:
    cgroups = "9:name=systemd:/\n8:pids:/\n4:memory:/a\n2:cpu,cpuacct:/\n0::/\n"
    mounts = (
        "cgroup /sys/fs/cgroup/cpu cgroup rw,relatime,cpu,cpuacct 0 0\n"
        "cgroup /sys/fs/cgroup/pids cgroup rw,relatime,pids 0 0\n"
        "cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0\n"
    )
    assert unmounted_hierarchies(cgroups, mounts) == ["name=systemd", "memory"]
    assert unmounted_hierarchies("0::/user.slice\n", "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n") == []


def test_only_controllers_that_are_on_are_mounted() -> None:
    table = "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t0\t1\t1\nmemory\t0\t1\t0\npids\t0\t1\t1\n"
    assert enabled_controllers(table) == ["cpu", "pids"]


@pytest.mark.parametrize(
    ("env_file", "url"),
    [
        ("", "http://localhost:8080"),
        ("PAAS_HTTP_PORT=8181\n", "http://localhost:8181"),
        ("PAAS_HTTP_PORT=nonsense\n", None),
    ],
)
def test_the_chat_is_with_the_madang_of_this_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, env_file: str, url: str | None
) -> None:
    called: list[str | None] = []
    (tmp_path / ".env").write_text(env_file)
    monkeypatch.chdir(tmp_path)
    for name in ("PAAS_HTTP_PORT", "PAAS_DOMAIN", "PAAS_PUBLIC_URL"):
        monkeypatch.delenv(name, raising=False)

    def terminal(_: Sequence[str], *, url: str | None) -> int:
        called.append(url)
        return 0

    monkeypatch.setattr("bot.terminal.main", terminal)
    assert chat.main(["--lang", "ko"]) == 0
    assert called == [url]


class TestWelcome:
    def shown(self, tag: str = "en", **given: Any) -> str:
        ready = {
            "url": "http://localhost:8080",
            "chat_url": "http://localhost:8080/chat",
            "admin_password": None,
            "telegram": None,
        }
        return welcome(cast("Any", SimpleNamespace(**ready | given)), translator(tag))

    def test_says_where_it_is_and_how_to_connect_telegram(self) -> None:
        shown = self.shown()
        assert "http://localhost:8080/chat" in shown
        assert "@BotFather" in shown
        assert "TELEGRAM_BOT_TOKEN" in shown

    def test_shows_the_administrators_password_only_when_new(self) -> None:
        assert "password" not in self.shown()
        assert "s3cret-once" in self.shown(admin_password="s3cret-once")

    def test_leads_to_the_bot_once_there_is_one(self) -> None:
        shown = self.shown(telegram="yard_bot")
        assert "https://t.me/yard_bot" in shown
        assert "@BotFather" not in shown


class TestCheck:
    def test_shows_the_faults_and_sums_up(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        faulty = ("-c", "print('line 3 is wrong'); raise SystemExit(1)")
        monkeypatch.setattr(check, "_CHECKS", {"first": ("-c", "print('fine')"), "second": faulty})
        assert check.main([]) == 1
        shown = capsys.readouterr().out
        assert "line 3 is wrong" in shown
        assert "fine" not in shown
        assert [line.split()[:2] for line in shown.splitlines()[-2:]] == [
            ["first", "ok"],
            ["second", "FAULTS"],
        ]
        assert check.main(["first"]) == 0

    def test_names_the_checks_there_are(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert check.main(["tyops"]) == 2
        assert "types" in capsys.readouterr().err


class TestTerminal:
    def test_a_step_is_a_line_when_it_begins_and_when_it_ends(self) -> None:
        out = io.StringIO()
        with Progress(out).step("Installing Fig"):
            assert out.getvalue() == "Installing Fig …\n"
        assert out.getvalue().splitlines()[1] == "Installing Fig … 0 s"

    def test_the_same_step_again_is_not_repeated(self) -> None:
        out = io.StringIO()
        progress = Progress(out)
        progress.begin("Building")
        progress.begin("Building")
        assert out.getvalue() == "Building …\n"

    def test_korean_letters_take_two_columns(self) -> None:
        assert padded("주소", 6) == "주소  "
        assert padded("Chat", 6) == "Chat  "

    def test_the_language_is_the_terminals(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LANG", "ko_KR.UTF-8")
        monkeypatch.delenv("LC_MESSAGES", raising=False)
        monkeypatch.setenv("LC_ALL", "")
        assert language() == "ko_KR.UTF-8"
        monkeypatch.setenv("LC_ALL", "C.UTF-8")
        assert language() == "C.UTF-8"


class TestRootProgram:
    """`./madang` itself, in a copy that has nothing but its own files."""

    @pytest.fixture
    def copy(self, tmp_path: Path) -> Path:
        root = tmp_path / "checkout"
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "engine" / "cli", root / "engine" / "cli", ignore=ignored)
        for name in ("madang", "engine/__init__.py", "engine/errors.py"):
            shutil.copy(ROOT / name, root / name)
        for name in ("requirements.lock", "requirements-dev.lock"):
            (root / name).write_text("# nothing\n")
        return root

    def madang(self, root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(root / "madang"), *arguments]
        return subprocess.run(
            command, cwd="/", capture_output=True, text=True, check=False, env=plain_environment()
        )

    def test_helps_before_anything_is_installed(self, copy: Path) -> None:
        result = self.madang(copy, "help")
        assert result.returncode == 0, result.stderr
        assert "madang run" in result.stdout
        assert self.madang(copy, "runn").returncode == 2
        assert not (copy / ".venv").exists()

    def test_can_be_read_by_an_old_python(self) -> None:
        ast.parse((ROOT / "madang").read_text(), feature_version=(3, 4))

    def test_prepares_its_environment_once(self, copy: Path) -> None:
        first = self.madang(copy, "chat")  # goes as far as the missing package `bot`
        assert "No module named" in first.stderr
        stamp = copy / ".venv" / "runtime.stamp"
        made_at = stamp.stat().st_mtime_ns
        second = self.madang(copy, "chat")
        assert "Preparing" not in second.stderr
        assert stamp.stat().st_mtime_ns == made_at

        (copy / "requirements.lock").write_text("# changed\n")
        assert "Preparing" in self.madang(copy, "chat").stderr
        assert stamp.stat().st_mtime_ns != made_at

    def test_makes_a_new_environment_after_a_move(self, copy: Path, tmp_path: Path) -> None:
        self.madang(copy, "chat")
        moved = copy.rename(tmp_path / "elsewhere")
        result = self.madang(moved, "chat")
        assert "Preparing" in result.stderr
        assert str(moved) in result.stderr, "ran the code of the old place"


class TestRun:
    def test_a_bad_setting_is_one_sentence(self, tmp_path: Path) -> None:
        environment = plain_environment() | {"PAAS_HTTP_PORT": "eighty", "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "engine.cli", "run"]
        result = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, check=False, env=environment
        )
        assert result.returncode == 1
        assert "PAAS_HTTP_PORT" in result.stderr
        assert "Traceback" not in result.stderr


def plain_environment() -> dict[str, str]:
    """The environment without settings, in English."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in {"PATH", "HOME"} or name.startswith("PIP_")
    }
    return kept | {"LANG": "C.UTF-8"}
