"""The catalogue: one folder per kind of thing a person can make (`template.toml` and the files under `app/`).

A new kind of app is a new folder; nothing here or elsewhere names a template.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from engine.domain import APP_NAME
from engine.errors import Broken, Invalid

Words = Annotated[Mapping[str, str], Field(min_length=1)]  # language -> text


class Choice(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    value: str
    label: Words


class Option(BaseModel):
    """One question that the template asks. `id` is also the name in the API."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    id: str
    type: Literal["choice", "text"]
    default: str = ""
    max_length: Annotated[int, Field(ge=1, le=4000)] = 200
    label: Words
    choices: tuple[Choice, ...] = ()

    @model_validator(mode="after")
    def _default_is_an_answer(self) -> Self:
        if self.type == "choice" and self.default not in {choice.value for choice in self.choices}:
            raise ValueError(f"the default of {self.id} is none of its choices")
        return self

    def checked(self, value: str) -> str:
        """`value`, when it is a right answer. Raises Invalid naming the option."""
        if self.type == "choice" and value not in {choice.value for choice in self.choices}:
            allowed = ", ".join(choice.value for choice in self.choices)
            raise Invalid("bad_option", field=self.id, option=self.id, choices=allowed)
        if len(value) > self.max_length:
            raise Invalid("long_option", field=self.id, option=self.id, maximum=self.max_length)
        return value


class Template(BaseModel):
    """The metadata of one template; `folder` is where its files are."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)
    id: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{1,39}$")]
    version: str
    kind: Literal["container"]
    runtime: str
    emoji: str
    name: Words
    summary: Words
    suggested_name: Annotated[str, Field(pattern=f"^{APP_NAME.pattern}$")]
    port: int = 3000
    health_path: str = "/"
    single_writer: bool = False
    private: bool = False
    supports_api: bool = False
    options: tuple[Option, ...] = ()
    folder: Path

    def settings(self, given: Mapping[str, str]) -> dict[str, str]:
        """Every option's value: the given one, else its default. Raises Invalid naming the option at fault."""
        known = {option.id: option for option in self.options}
        for name in given:
            if name not in known:
                raise Invalid("unknown_option", field=name, option=name)
        return {name: option.checked(given.get(name, option.default)) for name, option in known.items()}


def said(words: Words, locale: str) -> str:
    """The words in that language, or in English, or whatever there is."""
    return words.get(locale) or words.get("en") or next(iter(words.values()))


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All templates, in the order of their ids."""

    templates: Mapping[str, Template]

    def get(self, template_id: str) -> Template:
        """Raises Invalid("unknown_template")."""
        found = self.templates.get(template_id)
        if found is None:
            raise Invalid("unknown_template", field="templateId", template=template_id)
        return found


def load_catalogue(folder: Path) -> Catalogue:
    """Reads every template below `folder`. Raises Broken("bad_setting") naming the file at fault."""
    found: dict[str, Template] = {}
    for path in sorted(folder.glob("*/template.toml")):
        try:
            data: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
            template = Template(**data, folder=path.parent)
        except (ValueError, TypeError) as error:  # not text, not TOML, not a template
            raise Broken("bad_setting", detail=f"{path}: {error}") from error
        if template.id != path.parent.name:
            raise Broken("bad_setting", detail=f"{path}: id must be {path.parent.name}")
        found[template.id] = template
    if not found:
        raise Broken("bad_setting", detail=f"PAAS_TEMPLATES_DIR: no template in {folder}")
    return Catalogue(found)
