"""The catalogue: a new kind of app is a new folder, and a faulty one is told at the start."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.catalogue import load_catalogue, said
from engine.errors import Broken, Invalid
from engine.settings import Settings
from engine.words import LOCALES

_WHOLE = """
id = "thing-v1"
version = 1
kind = "container"
runtime = "python"
emoji = "🧸"
suggested_name = "thing"
[name]
en = "Thing"
[summary]
en = "A thing"
[[options]]
id = "colour"
type = "choice"
default = "red"
label = {en = "Colour"}
choices = [{value = "red", label = {en = "Red"}}, {value = "blue", label = {en = "Blue"}}]
[[options]]
id = "words"
type = "text"
max_length = 5
label = {en = "Words"}
"""


def write(folder: Path, text: str, name: str = "thing-v1") -> Path:
    (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / name / "template.toml").write_text(text, encoding="utf-8")
    return folder


def test_every_folder_with_a_template_file_is_in_it(tmp_path: Path) -> None:
    write(tmp_path, _WHOLE)
    write(tmp_path, _WHOLE.replace("thing-v1", "another"), "another")
    (tmp_path / "not-a-template").mkdir()
    assert list(load_catalogue(tmp_path).templates) == ["another", "thing-v1"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"thing-v1"', '"other"'),
        ('"container"', '"rocket"'),
        ("version = 1", ""),
        ("version = 1", "version = 1\nsurprise = true"),
        ("version = 1", 'version = 1\nfolder = "/etc"'),
        ('"thing"', '"Not A Name"'),
        ('"thing"', '"x"'),
        ('"red"\nlabel', '"green"\nlabel'),
        ('en = "Thing"', ""),
        ("max_length = 5", "max_length = 0"),
        ("version = 1", "version = ["),
    ],
)
def test_a_faulty_template_is_told_by_its_file(tmp_path: Path, old: str, new: str) -> None:
    assert old in _WHOLE
    with pytest.raises(Broken) as refused:
        load_catalogue(write(tmp_path, _WHOLE.replace(old, new, 1)))
    assert refused.value.code == "bad_setting"
    assert "thing-v1/template.toml" in refused.value.params["detail"]


def test_a_template_file_that_is_not_text_is_told_by_its_file(tmp_path: Path) -> None:
    write(tmp_path, _WHOLE)
    (tmp_path / "thing-v1" / "template.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(Broken) as refused:
        load_catalogue(tmp_path)
    assert "thing-v1/template.toml" in refused.value.params["detail"]


def test_an_empty_catalogue_names_the_setting(tmp_path: Path) -> None:
    with pytest.raises(Broken) as refused:
        load_catalogue(tmp_path / "nowhere")
    assert "PAAS_TEMPLATES_DIR" in refused.value.params["detail"]


def test_an_unknown_template_is_refused_by_field(tmp_path: Path) -> None:
    with pytest.raises(Invalid) as refused:
        load_catalogue(write(tmp_path, _WHOLE)).get("nothing")
    assert (refused.value.code, refused.value.field) == ("unknown_template", "templateId")


def test_options_not_given_have_their_defaults(tmp_path: Path) -> None:
    template = load_catalogue(write(tmp_path, _WHOLE)).get("thing-v1")
    assert template.settings({}) == {"colour": "red", "words": ""}
    assert template.settings({"colour": "blue", "words": "안녕"}) == {"colour": "blue", "words": "안녕"}


@pytest.mark.parametrize(
    ("given", "code", "field"),
    [
        ({"colour": "green"}, "bad_option", "colour"),
        ({"colour": ""}, "bad_option", "colour"),
        ({"words": "123456"}, "long_option", "words"),
        ({"shape": "round"}, "unknown_option", "shape"),
    ],
)
def test_a_wrong_answer_is_refused_by_the_name_of_its_option(
    tmp_path: Path, given: dict[str, str], code: str, field: str
) -> None:
    template = load_catalogue(write(tmp_path, _WHOLE)).get("thing-v1")
    with pytest.raises(Invalid) as refused:
        template.settings(given)
    assert (refused.value.code, refused.value.field) == (code, field)


def test_words_fall_back_to_english_and_then_to_whatever_there_is() -> None:
    words = {"en": "Diary", "ko": "일기장"}
    assert (said(words, "ko"), said(words, "fr"), said({"ko": "일기장"}, "en")) == (
        "일기장",
        "Diary",
        "일기장",
    )


def test_the_templates_that_come_with_madang_speak_every_language() -> None:
    catalogue = load_catalogue(Settings(_env_file=None).templates_dir)
    assert {"diary-v1", "homepage-v1"} <= set(catalogue.templates)
    for template in catalogue.templates.values():
        labels = [template.name, template.summary]
        for option in template.options:
            labels += [option.label, *(choice.label for choice in option.choices)]
        for words in labels:
            assert set(words) == set(LOCALES), f"{template.id}: {words}"
        assert (template.folder / "app").is_dir()
