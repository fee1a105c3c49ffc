"""From an app to what is to run, and to the compose file that runs it without Madang."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from engine.catalogue import load_catalogue
from engine.domain import App
from engine.folders import AppFolder
from engine.operations.spec import compose_file, instance_name, instance_spec, template_values
from engine.ports import InstanceSpec
from engine.settings import Settings
from tests.support.worlds import an_account, an_app

SETTINGS = Settings(_env_file=None, paas_domain="example.com", paas_http_port=80)
CATALOGUE = load_catalogue(SETTINGS.templates_dir)
HARD_TITLES = [
    "Plain", "", 'quotes " and \' and \\', "${HOME} $HOME $$ {{x}}", "a: b # c", "- list", "!!python/object", "*anchor",
    "line\nbreak", "tab\there", "한글 제목", "👨‍👩‍👧 family", "\u2028separator\u2029", "\x7fdelete\x9f", "\ufeffbom",
    "yes", "null", "0x10", "~", "%", "@at", "`tick`", "\x1b[31mred",
]  # fmt: skip


def diary(**more: Any) -> App:
    values: dict[str, Any] = {
        "template": "diary-v1", "title": "Diary", "slot": 7, "owner_key": "open-sesame",
        "settings": {"enableApi": "true", "locale": "ko"},
    }  # fmt: skip
    return an_app(an_account("alice"), "diary", **values | more)


def spec_of(app: App, settings: Settings = SETTINGS, root: Path = Path("/srv/apps")) -> InstanceSpec:
    return instance_spec(app, CATALOGUE.get(app.template), AppFolder(root / app.userid / app.name), settings)


def test_an_app_runs_under_the_name_and_with_the_limits_that_the_page_says() -> None:
    app = diary()
    assert spec_of(app) == InstanceSpec(
        name="paas-app-alice-diary",
        app_id=app.id,
        userid="alice",
        appname="diary",
        domain="alice-diary.example.com",
        slot=7,
        image="python",
        code_dir=Path("/srv/apps/alice/diary/code"),
        data_dir=Path("/srv/apps/alice/diary/data"),
        environment={
            "ENABLE_API": "true",
            "SQLITE_PATH": "/data/db.sqlite3",
            "APP_TITLE": "Diary",
            "APP_LOCALE": "ko",
            "PUBLIC_URL": "http://alice-diary.example.com",
            "OWNER_KEY_SHA256": hashlib.sha256(b"open-sesame").hexdigest(),
        },
        port=3000,
        health_path="/healthz",
        memory_bytes=256 * 1024 * 1024,
        cpus=0.5,
        pids=128,
        restart_policy="unless-stopped",
    )


def test_the_owners_key_itself_is_handed_to_nobody() -> None:
    spec = spec_of(diary())
    assert "open-sesame" not in repr(spec) + compose_file(spec, "image") + repr(template_values(diary()))


def test_a_diary_without_the_api_and_a_page_without_a_key_say_so() -> None:
    off = spec_of(diary(settings={"enableApi": "false", "locale": "en"}, owner_key=None))
    assert off.environment["ENABLE_API"] == "false"
    assert "OWNER_KEY_SHA256" not in off.environment
    assert spec_of(an_app()).environment["ENABLE_API"] == "false"


def test_limits_follow_the_settings() -> None:
    settings = SETTINGS.model_copy(
        update={"default_mem_limit": 2**26, "default_cpu_limit": 2.0, "default_pids_limit": 64, "default_restart_policy": "no"}
    )  # fmt: skip
    spec = spec_of(diary(), settings)
    assert (spec.memory_bytes, spec.cpus, spec.pids, spec.restart_policy) == (2**26, 2.0, 64, "no")


def test_names_of_different_apps_never_meet() -> None:
    """A handle holds no hyphen, so the first one in the name ends it."""
    names = {instance_name(an_app(an_account(userid), name)) for userid, name in
             [("alice", "my-diary"), ("alice", "my"), ("alicemy", "diary"), ("bob", "my-diary")]}  # fmt: skip
    assert len(names) == 4


# --- docker-compose.yml


def composed(spec: InstanceSpec, folder: Path, **environment: str) -> dict[str, Any]:
    """The service as docker-compose understands it."""
    if shutil.which("docker-compose") is None:
        pytest.skip("docker-compose is not installed")
    (folder / "docker-compose.yml").write_text(
        compose_file(spec, "madang-runtime-python:abc"), encoding="utf-8"
    )
    result = subprocess.run(
        ["docker-compose", "config"], cwd=folder, capture_output=True, text=True, check=False,
        env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", **environment},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "variable is not set" not in result.stderr, result.stderr
    shown = subprocess.run(
        ["/usr/bin/python3", "-c", "import sys, yaml, json; json.dump(yaml.safe_load(sys.stdin), sys.stdout)"],
        input=result.stdout, capture_output=True, text=True, check=True,
    )  # fmt: skip
    service: dict[str, Any] = json.loads(shown.stdout)["services"]["app"]
    return service


def test_docker_compose_accepts_it_and_runs_the_same_app_as_safely(tmp_path: Path) -> None:
    service = composed(spec_of(diary()), tmp_path)
    assert service["image"] == "madang-runtime-python:abc"
    assert service["container_name"] == "paas-app-alice-diary"
    assert service["restart"] == "unless-stopped"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert str(service["mem_limit"]) == str(256 * 1024 * 1024)
    assert (float(service["cpus"]), service["pids_limit"]) == (0.5, 128)
    assert service["environment"]["PORT"] == "3000"
    assert service["volumes"] == [f"{tmp_path}/code:/app:ro", f"{tmp_path}/data:/data:rw"]
    assert service["logging"] == {"driver": "json-file", "options": {"max-size": "10m", "max-file": "3"}}


def test_it_listens_on_loopback_at_a_port_of_ones_choice(tmp_path: Path) -> None:
    assert composed(spec_of(diary()), tmp_path)["ports"] == ["127.0.0.1:3000:3000/tcp"]
    assert composed(spec_of(diary()), tmp_path, PORT="8000")["ports"] == ["127.0.0.1:8000:3000/tcp"]


@pytest.mark.parametrize("policy", ["no", "always", "on-failure"])
def test_a_restart_policy_is_a_word_and_not_a_truth_value(tmp_path: Path, policy: str) -> None:
    settings = SETTINGS.model_copy(update={"default_restart_policy": policy})
    assert composed(spec_of(diary(), settings), tmp_path)["restart"] == policy


@pytest.mark.parametrize("title", HARD_TITLES)
def test_whatever_the_title_docker_compose_hands_it_over_as_it_is(tmp_path: Path, title: str) -> None:
    environment = composed(spec_of(diary(title=title)), tmp_path)["environment"]
    assert environment["APP_TITLE"].replace("$$", "$") == title  # what it prints is a compose file again
