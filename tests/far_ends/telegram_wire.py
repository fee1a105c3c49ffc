"""What crosses the wire: parameters in, results out, refusals in Telegram's own words.

Names and types of parameters come from `aiogram.methods`, shapes of results from `aiogram.types`. Two things are
stricter here than at Telegram, which ignores them in silence: a parameter that the method does not have, and a
value of the wrong type, are refused, because in a test both are bugs.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import UnionType
from typing import Any, Union, get_args, get_origin

import aiogram.methods
from aiogram.client.default import Default
from aiogram.methods import TelegramMethod
from aiogram.types import InputFile
from aiohttp import web
from aiohttp.web_request import FileField
from pydantic import BaseModel, TypeAdapter, ValidationError

JsonObject = dict[str, Any]

TRUE_WORDS = frozenset({"true", "yes", "1"})
FALSE_WORDS = frozenset({"false", "no", "0", ""})

METHODS: dict[str, type[TelegramMethod[Any]]] = {
    model.__api_method__.lower(): model
    for model in vars(aiogram.methods).values()
    if isinstance(model, type) and issubclass(model, TelegramMethod) and model is not TelegramMethod
}


class Refusal(Exception):
    """An answer with ok=false; `description` is complete, with its prefix."""

    def __init__(self, status: int, description: str, retry_after_s: int | None = None) -> None:
        super().__init__(description)
        self.status = status
        self.description = description
        self.retry_after_s = retry_after_s

    def envelope(self) -> JsonObject:
        body: JsonObject = {"ok": False, "error_code": self.status, "description": self.description}
        if self.retry_after_s is not None:
            body["parameters"] = {"retry_after": self.retry_after_s}
        return body


def bad_request(detail: str) -> Refusal:
    """400; the detail starts lower case unless it is a code such as BUTTON_DATA_INVALID, as Telegram writes it."""
    is_code = len(detail) > 1 and (detail[1] == "_" or detail[1].isupper())
    return Refusal(400, f"Bad Request: {detail if is_code else detail[:1].lower() + detail[1:]}")


def forbidden(detail: str) -> Refusal:
    return Refusal(403, f"Forbidden: {detail}")


def too_many_requests(retry_after_s: int) -> Refusal:
    return Refusal(429, f"Too Many Requests: retry after {retry_after_s}", retry_after_s)


@dataclass(frozen=True)
class Upload:
    """One file part of a multipart request."""

    name: str
    content: bytes
    mime_type: str


@dataclass(frozen=True)
class Parameters:
    """The checked parameters of one call; every value is text, as Telegram itself sees it."""

    method: str
    values: Mapping[str, str]
    files: Mapping[str, Upload]

    def __contains__(self, name: str) -> bool:
        return bool(self.values.get(name))

    def text(self, name: str) -> str:
        return self.values.get(name, "")

    def integer(self, name: str, default: int = 0) -> int:
        return int(self.values.get(name) or default)

    def flag(self, name: str) -> bool:
        return self.text(name).lower() in TRUE_WORDS

    def decoded(self, name: str) -> Any:
        """The JSON value of a parameter, None when it is absent."""
        return json.loads(self.values[name]) if name in self else None

    def upload(self, name: str) -> Upload | None:
        """The file given as the parameter: in a part of the same name, or one referred to as attach://part."""
        if name in self.files:
            return self.files[name]
        value = self.text(name)
        if not value.startswith("attach://"):
            return None
        found = self.files.get(value.removeprefix("attach://"))
        if found is None:
            raise bad_request(f"Can't find the file {value} in the request")
        return found


async def read_parameters(method: str, request: web.Request) -> Parameters:
    """Parameters from the query, and from a form or a JSON body."""
    values: dict[str, str] = dict(request.query)
    files: dict[str, Upload] = {}
    if request.method == "POST":
        if request.content_type == "application/json":
            values |= await _json_body(request)
        else:
            for name, part in (await request.post()).items():
                if isinstance(part, FileField):
                    files[name] = Upload(part.filename, part.file.read(), part.content_type)
                else:
                    values[name] = part if isinstance(part, str) else bytes(part).decode()
    return checked(method, values, files)


async def _json_body(request: web.Request) -> dict[str, str]:
    try:
        body = json.loads(await request.read() or b"{}")
    except ValueError:
        raise bad_request("Can't parse request body as JSON") from None
    if not isinstance(body, dict):
        raise bad_request("Object expected as the request body")
    return as_texts(body)


def as_texts(body: Mapping[str, Any]) -> dict[str, str]:
    """A JSON object as form values: Telegram re-encodes whatever is not a string."""
    return {
        name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for name, value in body.items()
        if value is not None
    }


def checked(method: str, values: Mapping[str, str], files: Mapping[str, Upload]) -> Parameters:
    """Refuses names that the method does not have and values of the wrong type."""
    fields = METHODS[method.lower()].model_fields
    attached = {value.removeprefix("attach://") for value in values.values() if value.startswith("attach://")}
    for name in [*values, *(name for name in files if name not in attached)]:
        if name not in fields:
            raise bad_request(f'Parameter "{name}" is unknown to {METHODS[method.lower()].__api_method__}')
    for name, value in values.items():
        _check_type(name, value, fields[name].annotation)
    return Parameters(method, values, files)


def _check_type(name: str, value: str, annotation: Any) -> None:
    kinds = _kinds(annotation)
    if str in kinds or InputFile in kinds or not value:
        return
    if kinds == {bool}:
        if value.lower() not in TRUE_WORDS | FALSE_WORDS:
            raise bad_request(f'Parameter "{name}" must be of type Boolean')
    elif kinds == {int}:
        if not value.lstrip("-").isdecimal() or abs(int(value)) >= 1 << 63:
            raise bad_request(f'Parameter "{name}" must be a valid Integer')
    else:
        _check_json(name, value, annotation)


def _check_json(name: str, value: str, annotation: Any) -> None:
    try:
        decoded = json.loads(value)
    except ValueError:
        words = {"reply_markup": "reply keyboard markup", "menu_button": "menu button"}
        raise bad_request(f"Can't parse {words.get(name, name.replace('_', ' '))} JSON object") from None
    if name == "reply_markup":  # has its own check, with Telegram's texts
        return
    try:
        _adapter(annotation).validate_python(decoded)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(str(step) for step in first["loc"])
        raise bad_request(f"Can't parse {name}: {place or 'value'}: {first['msg']}") from None


def _kinds(annotation: Any) -> set[Any]:
    is_union = get_origin(annotation) in (Union, UnionType)
    members = get_args(annotation) if is_union else (annotation,)
    return {member for member in members if member not in (type(None), Default)}


@cache
def _adapter(annotation: Any) -> TypeAdapter[Any]:
    """Of the annotation without aiogram's own `Default`, which never goes over the wire."""
    if get_origin(annotation) in (Union, UnionType):
        annotation = Union[tuple(kind for kind in get_args(annotation) if kind is not Default)]  # noqa: UP007
    return TypeAdapter(annotation)


def to_wire(value: Any) -> Any:
    """A result as JSON: absent fields left out, `from_user` written as `from`, times in seconds."""
    if isinstance(value, BaseModel):
        # Fields that hold one of aiogram's own defaults are absent on the wire.
        dumped = value.model_dump(mode="json", by_alias=True, exclude_none=True, fallback=lambda _: None)
        return _without_none(dumped)
    if isinstance(value, list):
        return [to_wire(item) for item in value]
    return value


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_none(item) for item in value]
    return value


def check_shape(annotation: Any, dumped: Any) -> None:
    """Raises AssertionError unless the JSON survives a round trip through aiogram's type: nothing lost or added."""
    again = to_wire(_adapter(annotation).validate_python(dumped))
    assert again == dumped, f"not of the shape {annotation}: {dumped!r} came back as {again!r}"
