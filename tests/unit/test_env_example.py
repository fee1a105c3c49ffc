"""`.env.example` is the settings' manual: complete, true, and usable as it is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from engine.settings import Settings, load_settings

EXAMPLE = Path(__file__).resolve().parents[2] / ".env.example"
_SETTING = re.compile(r"^#([A-Z0-9_]+)=(.*)$", re.MULTILINE)
_SHOWN = re.compile(r"Example: ([A-Z0-9_]+)=(\S+)$", re.MULTILINE)


@pytest.fixture(autouse=True)
def _no_settings_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def names() -> list[str]:
    return [name for name, _ in _SETTING.findall(EXAMPLE.read_text())]


def test_every_setting_is_there_once_and_no_other() -> None:
    assert sorted(names()) == sorted(name.upper() for name in Settings.model_fields)


def test_the_values_shown_are_the_defaults(tmp_path: Path) -> None:
    uncommented = tmp_path / ".env"
    uncommented.write_text(_SETTING.sub(r"\1=\2", EXAMPLE.read_text()))
    assert load_settings(uncommented) == load_settings(None)


def test_nothing_in_it_is_in_force_before_it_is_edited(tmp_path: Path) -> None:
    copied = tmp_path / ".env"
    copied.write_text(EXAMPLE.read_text())
    assert all(line.startswith("#") or not line for line in copied.read_text().splitlines())
    assert load_settings(copied) == load_settings(None)


def test_every_setting_has_an_example_that_is_accepted_and_differs(tmp_path: Path) -> None:
    shown = dict(_SHOWN.findall(EXAMPLE.read_text()))
    assert sorted(shown) == sorted(names())
    defaults = load_settings(None)
    for name, value in shown.items():
        file = tmp_path / name
        file.write_text(f"{name}={value}\n")
        assert getattr(load_settings(file), name.lower()) != getattr(defaults, name.lower()), name


def test_every_setting_is_explained() -> None:
    blocks = EXAMPLE.read_text().split("\n\n")
    for block in blocks:
        if match := _SETTING.search(block):
            assert block.startswith("# "), f"{match[1]} has no explanation"
