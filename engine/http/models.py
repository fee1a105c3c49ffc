"""What requests may carry, checked before anything else sees it."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, TypeVar

from aiohttp import web
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from engine.errors import Invalid

TEXT_MAX: Final = 4000
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def _writable(text: str) -> str:
    """No control characters but tabs and line ends: a file, an environment or a log may have to hold it."""
    if _CONTROL.search(text):
        raise PydanticCustomError("control_character", "it holds a control character")
    return text


_Text = Annotated[str, StringConstraints(strict=True, max_length=TEXT_MAX), AfterValidator(_writable)]


class Body(BaseModel):
    """A JSON object; a field that is not known is refused, so that a misspelt one is noticed."""

    model_config = ConfigDict(extra="forbid", alias_generator=to_camel, populate_by_name=True, frozen=True)


class RegisterBody(Body):
    email: _Text
    password: _Text
    username: _Text


class LogInBody(Body):
    """`username` or `email`."""

    username: _Text | None = None
    email: _Text | None = None
    password: _Text


class ChangePasswordBody(Body):
    current_password: _Text
    new_password: _Text


class CreateAppBody(Body):
    """`options` answers the template's questions; `enableApi` is the best known of them."""

    appname: _Text
    template_id: _Text
    enable_api: Annotated[bool | None, Field(strict=True)] = None
    title: _Text | None = None
    userid: _Text | None = None
    options: dict[str, _Text] = {}

    def settings(self) -> dict[str, str]:
        given = dict(self.options)
        if self.enable_api is not None:
            given["enableApi"] = "true" if self.enable_api else "false"
        return given


class DeleteAppBody(Body):
    keep_data: Annotated[bool, Field(strict=True)] = True


_B = TypeVar("_B", bound=Body)


async def read_body(
    request: web.Request, model: type[_B], *, form: bool = False, optional: bool = False
) -> _B:
    """The request's body as `model`. Raises Invalid naming the field; `form` also takes a form, `optional` none."""
    if form and request.content_type in ("application/x-www-form-urlencoded", "multipart/form-data"):
        try:
            fields = await request.post()
        except (ValueError, LookupError):  # not the form that its headers say, in this or any known encoding
            raise Invalid("invalid") from None
        return _checked(model, {key: value for key, value in fields.items() if isinstance(value, str)})
    raw = await request.read()
    if optional and not raw.strip():
        return model()
    if request.content_type != "application/json":
        raise Invalid("unsupported_media_type")
    try:
        return model.model_validate_json(raw)
    except ValidationError as error:
        raise _told(error) from None


def _checked(model: type[_B], fields: dict[str, Any]) -> _B:
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise _told(error) from None


_VARIANTS: Final = {
    "string_type": "text",
    "string_unicode": "text",
    "control_character": "text",
    "bool_type": "boolean",
    "dict_type": "object",
    "string_too_long": "long",
}


def _told(error: ValidationError) -> Invalid:
    """The first fault, by the name that the client uses."""
    fault = error.errors(include_url=False, include_input=False, include_context=False)[0]
    # The name of an unknown field is the client's own: no longer than need be.
    name = ".".join(str(part) for part in fault["loc"])[:80]
    match fault["type"]:
        case "json_invalid" | "model_type":
            return Invalid("bad_json")
        case "missing":
            return Invalid("missing_field", field=name, name=name)
        case "extra_forbidden":
            return Invalid("unknown_field", field=name, name=name)
    variant = _VARIANTS.get(fault["type"], "")
    return Invalid("bad_field", field=name, name=name, variant=variant, maximum=TEXT_MAX)
