"""Settings: names and meanings that others rely on, and faults told by name."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from engine.errors import Broken
from engine.settings import Settings, load_settings, parse_size, port_is_free
from tests.conftest import Start


@pytest.fixture(autouse=True)
def _no_settings_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def loaded(monkeypatch: pytest.MonkeyPatch, **values: str) -> Settings:
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return load_settings(None)


@pytest.mark.parametrize(
    ("text", "size"),
    [("256m", 256 * 1024**2), ("1g", 1024**3), ("64k", 65536), ("1024", 1024), ("2G", 2 * 1024**3),
     (" 512 MB ", 512 * 1024**2), ("1b", 1), (268435456, 268435456)],
)  # fmt: skip
def test_sizes_are_read_as_docker_writes_them(text: object, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "m", "1t", "-1m", "1.5g", "256m\n1", "many", None])
def test_what_is_no_size_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="a size such as"):
        parse_size(text)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PAAS_DOMAIN", "http://example.com"), ("PAAS_DOMAIN", "example.com:80"), ("PAAS_DOMAIN", "ex ample.com"),
        ("PAAS_DOMAIN", "-x.com"), ("PAAS_HTTP_PORT", "0"), ("PAAS_HTTP_PORT", "65536"), ("PAAS_HTTP_PORT", "http"),
        ("DEFAULT_MEM_LIMIT", "lots"), ("DEFAULT_CPU_LIMIT", "0"), ("RUNTIME_DRIVER", "podman"),
        ("DEFAULT_RESTART_POLICY", "sometimes"), ("MAX_APPS_PER_USER", "-1"), ("MAX_APPS_PER_USER", "five"),
        ("REGISTRATION", "closed"), ("BCRYPT_ROUNDS", "3"), ("BCRYPT_ROUNDS", "31"), ("LOG_LEVEL", "loud"),
        ("START_TIMEOUT_S", "0"), ("WORKER_CONCURRENCY", "0"), ("TRASH_KEEP_DAYS", "-1"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_told_by_the_name_of_its_setting(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    with pytest.raises(Broken) as refused:
        loaded(monkeypatch, **{name: value})
    assert refused.value.code == "bad_setting"
    assert refused.value.params["detail"].startswith(f"{name}: ")


def test_every_fault_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Broken) as refused:
        loaded(monkeypatch, PAAS_HTTP_PORT="x", PORTAL_PORT="y")
    assert all(name in refused.value.params["detail"] for name in ("PAAS_HTTP_PORT", "PORTAL_PORT"))


def test_a_secret_is_in_no_message_and_no_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "s3cret-0123456789-0123456789-012345"
    settings = loaded(monkeypatch, JWT_SECRET=secret, ADMIN_PASSWORD=secret, TELEGRAM_BOT_TOKEN=secret)
    assert secret not in repr(settings) + str(settings.model_dump())
    with pytest.raises(Broken) as refused:
        loaded(monkeypatch, PORTAL_PORT="x")
    assert secret not in str(refused.value)


def test_the_environment_wins_over_the_file_and_empty_is_unset(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / ".env"
    file.write_text("MAX_APPS_PER_USER=7\nMAX_TOTAL_APPS=70\nPAAS_DOMAIN=\n")
    monkeypatch.setenv("MAX_APPS_PER_USER", "3")
    settings = load_settings(file)
    assert (settings.max_apps_per_user, settings.max_total_apps, settings.paas_domain) == (3, 70, "localhost")


def test_the_defaults_are_those_that_others_rely_on() -> None:
    settings = load_settings(None)
    assert (settings.default_mem_limit, settings.default_cpu_limit) == (256 * 1024**2, 0.5)
    assert (settings.max_apps_per_user, settings.max_total_apps) == (5, 20)
    assert (settings.paas_http_port, settings.paas_bind, settings.portal_port) == (8080, "127.0.0.1", 3000)
    assert settings.default_restart_policy == "unless-stopped"


@pytest.mark.parametrize(
    ("values", "url"),
    [
        ({}, "http://alice-diary.localhost:8080"),
        ({"PAAS_HTTP_PORT": "80"}, "http://alice-diary.localhost"),
        ({"PAAS_DOMAIN": "Apps.Example.COM", "PAAS_HTTP_PORT": "80"}, "http://alice-diary.apps.example.com"),
        ({"PAAS_PUBLIC_URL": "https://example.com/"}, "https://alice-diary.example.com"),
        ({"PAAS_PUBLIC_URL": "https://example.com:8443"}, "https://alice-diary.example.com:8443"),
    ],
)
def test_an_apps_address_follows_from_the_settings(
    monkeypatch: pytest.MonkeyPatch, values: dict[str, str], url: str
) -> None:
    assert loaded(monkeypatch, **values).app_url("alice-diary") == url


def test_registration_is_open_at_home_and_by_approval_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    assert loaded(monkeypatch).registration_policy == "open"
    assert loaded(monkeypatch, PAAS_DOMAIN="example.com").registration_policy == "approval"
    assert loaded(monkeypatch, REGISTRATION="invite").registration_policy == "invite"


def test_all_state_is_below_the_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = loaded(monkeypatch, PAAS_ROOT=str(tmp_path / "here"))
    assert settings.root == tmp_path / "here"
    assert settings.apps_dir.is_relative_to(settings.root)
    assert settings.database_path.is_relative_to(settings.root)
    moved = loaded(monkeypatch, PAAS_APPS_DIR=str(tmp_path / "apps"), PORTAL_DB_PATH=str(tmp_path / "x.db"))
    assert (moved.apps_dir, moved.database_path) == (tmp_path / "apps", tmp_path / "x.db")


def test_a_port_that_something_listens_on_is_not_free() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        assert not port_is_free("127.0.0.1", port)
    assert port_is_free("127.0.0.1", port)


async def test_a_database_that_cannot_be_used_is_refused_and_not_quietly_another_one_taken(
    start_madang: Start,
) -> None:
    with pytest.raises(Broken, match="DATABASE_URL"):
        async with start_madang(database_url="postgresql://madang@db.example.com/madang"):
            pass
