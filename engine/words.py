"""What people read, in their language. Message ids are English sentences; `locales/<language>.po` holds the others.

Call sites write `t("Hello, {name}", name=...)`; Babel finds those calls, and `catalogue_faults` compares what it finds
with each catalogue, so that a sentence cannot be forgotten in one language.
"""

from __future__ import annotations

import functools
import string
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from babel.messages.pofile import read_po

from engine.errors import MadangError

LOCALES: Final = ("ko", "en")
_FOLDER: Final = Path(__file__).resolve().parent / "locales"
_ROOT: Final = _FOLDER.parent.parent


def N_(message: str) -> str:  # noqa: N802 - gettext's own name for "mark, do not translate yet"
    """Marks a message id for the catalogues; it is translated where it is used."""
    return message


class Translator:
    """`t("text {x}", x=1)`: that sentence in this translator's language, or the English one where it has none."""

    def __init__(self, locale: str, messages: Mapping[str, str]) -> None:
        self.locale = locale
        self._messages = messages

    def __call__(self, message: str, /, **params: Any) -> str:
        text = self._messages.get(message) or message
        return text.format(**params) if params else text

    def error(self, error: MadangError) -> str:
        """The sentence of an expected failure: what happened, and what to do."""
        return self.code(error.code, error.params)

    def code(self, code: str, params: Mapping[str, Any]) -> str:
        """The sentence of an error code, or of its variant where the params name one ("bad_field.text"). Params that the
        sentence does not name are left out."""
        variant = ERRORS.get(f"{code}.{params.get('variant')}")
        text = self(variant or ERRORS.get(code, ERRORS["internal"]))
        return string.Formatter().vformat(text, (), _Lenient(params))


class _Lenient(dict[str, Any]):
    def __missing__(self, key: str) -> str:
        return "?"


@functools.cache
def translator(locale: str) -> Translator:
    """The translator of `locale`, a language tag such as "ko", "ko-KR" or "en_US.UTF-8"."""
    language = pick_locale(locale)
    return Translator(language, _messages(language))


def pick_locale(*wanted: str | None) -> str:
    """The first language of `wanted` that there are words for; English otherwise. Takes Accept-Language lists too."""
    for entry in wanted:
        for tag in (entry or "").split(","):
            language = tag.split(";")[0].strip().replace("_", "-").split("-")[0].lower()
            if language in LOCALES:
                return language
    return "en"


@functools.cache
def _messages(language: str) -> dict[str, str]:
    path = _FOLDER / f"{language}.po"
    if language == "en" or not path.exists():
        return {}
    with path.open("rb") as file:
        catalogue = read_po(file, locale=language)
    return {str(m.id): str(m.string) for m in catalogue if m.id and m.string and not m.fuzzy}


# One table maps an error code to words (STYLE 7); `engine.http.errors` maps it to a status.
ERRORS: Final[Mapping[str, str]] = {
    "internal": N_("Something went wrong on our side. It has been noted; please try again in a moment."),
    "bad_json": N_('The body is not valid JSON. Send an object such as {{"appname": "diary"}}.'),
    "bad_field": N_("“{name}” is not right."),
    "bad_field.text": N_("“{name}” has to be text, without control characters."),
    "bad_field.boolean": N_("“{name}” has to be true or false."),
    "bad_field.object": N_("“{name}” has to be an object."),
    "bad_field.long": N_("“{name}” is too long: at most {maximum} characters."),
    "unknown_field": N_("“{name}” is not a field here."),
    "missing_field": N_("“{name}” is missing."),
    "too_large": N_("That is too large; at most {limit} bytes are taken."),
    "unsupported_media_type": N_("Send JSON, with the header Content-Type: application/json."),
    "not_found": N_("There is no such thing here."),
    "method_not_allowed": N_("This address does not answer to {method}."),
    "unauthenticated": N_("Please log in first."),
    "bad_credentials": N_("The name or the password is not right."),
    "bad_token": N_("The log-in has run out or is not valid. Please log in again."),
    "forbidden": N_("That is not yours to do."),
    "cross_site": N_("This request came from another site and was refused."),
    "password_change_required": N_("Password change required. Set a new password first."),
    "account_waiting": N_("This account still waits for an administrator’s approval."),
    "registration_closed": N_("New accounts are by invitation here. Ask the administrator for a code."),
    "bad_handle": N_("A name is 3 to 20 letters a-z and digits, and begins with a letter."),
    "reserved_handle": N_("“{handle}” is kept for Madang itself. Please choose another name."),
    "handle_taken": N_("“{handle}” is taken. Please choose another name."),
    "email_taken": N_("There is an account with this email address already."),
    "bad_email": N_("That does not look like an email address."),
    "short_password": N_("A password needs at least {minimum} characters."),
    "long_password": N_("A password may have at most {maximum} bytes."),
    "wrong_password": N_("The current password is not right."),
    "same_password": N_("The new password must differ from the current one."),
    "bad_app_name": N_("A name is 3 to 30 letters a-z, digits and hyphens, and begins with a letter."),
    "bad_title": N_("A title has 1 to {maximum} characters."),
    "unknown_template": N_("There is no template “{template}”."),
    "unknown_option": N_("This template has no option “{option}”."),
    "bad_option": N_("“{option}” is not right: one of {choices} is wanted."),
    "long_option": N_("“{option}” is too long: at most {maximum} characters."),
    "app_exists": N_("You already have something called “{name}”."),
    "app_in_trash": N_("“{name}” is in the trash. Restore it, or delete it for good, before using the name again."),
    "app_quota": N_("You have {used} of {limit} things. Delete one to make room."),
    "box_quota": N_("This Madang is full: {used} of {limit} places are taken. Ask the administrator for room."),
    "no_slot": N_("This Madang has no network address left. Ask the administrator for room."),
    "busy": N_("This is already being done."),
    "edge_down": N_("The web server is not answering. Please try again in a moment."),
    "runtime_busy": N_("That did not work just now. Please try again in a moment."),
    "no_instance": N_("It is not there any more."),
    "wrong_phase": N_("That cannot be done now: it is {phase}."),
    "app_gone": N_("It is not there any more."),
    "not_in_trash": N_("“{name}” is not in the trash."),
    "in_trash": N_("“{name}” is in the trash. Restore it first."),
    "bad_lines": N_("“lines” is a number from 1 to {maximum}."),
    "runtime_down": N_(
        "Docker is not answering, so nothing can be made or started right now. "
        "What you have is untouched. Please try again in a minute."
    ),
    "runtime_error": N_("Docker refused: {detail}"),
    "name_taken_on_box": N_("Something else on this computer is already called {name}. The administrator can rename it."),
    "app_crashed": N_("The program ended right after its start. Its last words: {log}"),
    "app_not_ready": N_("The program did not answer within {seconds} seconds."),
    "route_not_open": N_("The address did not open in time."),
    "edge_refused": N_("The web server refused its configuration: {detail}"),
    "edge_missing": N_("nginx is not installed. Run ./madang run, or install the package nginx."),
    "edge_port_taken": N_("Port {port} is in use by another program. Set PAAS_HTTP_PORT in .env to a free one."),
    "port_taken": N_("Port {port} is in use by another program. Set {setting} in .env to a free one."),
    "already_running": N_("Another Madang is already running on {root}. Stop it first, or set another PAAS_ROOT."),
    "bad_setting": N_("A setting is not right: {detail}"),
    "disk_full": N_("The disk is full. Nothing was lost; the administrator has to make room."),
    "folder_not_ours": N_("The folder {path} exists and was not made by Madang. Move it away and try again."),
    "folder_failed": N_("A folder could not be written: {detail}"),
    "network_not_ours": N_("The Docker network {name} exists and cannot be used. Remove it, or set another PAAS_NETWORK."),
    "network_unsuitable": N_("The Docker network {name} cannot be used: {detail}"),
    "network_full": N_("This Madang has no network address left. Ask the administrator for room."),
    "no_free_subnet": N_("There is no free range of addresses for the apps: {detail}"),
    "program_missing": N_("A program is missing: {detail}"),
    "unknown_image": N_("There is no runtime image called {name}."),
    "packages_unavailable": N_("The packages of the runtime image could not be fetched: {detail}"),
    "image_build_failed": N_("The runtime image could not be built: {detail}"),
    "address_in_use": N_("Another container uses the address {address}: {holder}. Remove it and try again."),
    "firewall_unavailable": N_("The firewall rules that keep apps apart could not be set: {detail}"),
    "base_image_unavailable": N_("The base image could not be pulled or made: {detail}"),
    "no_admin": N_("There is no administrator yet. Start Madang once: ./madang run"),
    "database_newer": N_("The database was written by a newer Madang ({found}). Install that version again."),
    "temporarily_unavailable": N_("That did not work just now. Please try again in a moment."),
    "step_timeout": N_("“{step}” took longer than {seconds} seconds."),
    "broken": N_("Something of this Madang is out of order; the administrator has to look."),
    "refused": N_("That cannot be done."),
    "invalid": N_("Something in the request is not right."),
    "conflict": N_("That does not go together with what is there."),
    "over_quota": N_("A limit is reached: {used} of {limit}."),
}  # fmt: skip


def catalogue_faults() -> list[str]:
    """What is missing, left over or different in its placeholders in any catalogue, one line each; [] when whole."""
    wanted = _extracted()
    faults = []
    for language in LOCALES:
        if language == "en":
            continue
        with (_FOLDER / f"{language}.po").open("rb") as file:
            catalogue = read_po(file, locale=language)
        have = {str(m.id): m for m in catalogue if m.id}
        faults += [f"{language}: missing: {text!r}" for text in sorted(wanted - have.keys())]
        faults += [f"{language}: left over: {text!r}" for text in sorted(have.keys() - wanted)]
        for text, message in have.items():
            if message.fuzzy or not message.string:
                faults.append(f"{language}: not translated: {text!r}")
            elif _names(text) != _names(str(message.string)):
                faults.append(f"{language}: other placeholders: {text!r}")
    return faults


def _names(text: str) -> set[str]:
    """The placeholders of `text`. One that is not well-formed has none that any other text could have."""
    try:
        return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}
    except ValueError as error:
        return {f"malformed: {error}"}


def _extracted() -> set[str]:
    """Every message id in the sources and page templates."""
    from babel.messages.extract import extract_from_dir  # noqa: PLC0415 - only the check needs it

    methods = [("**.py", "python"), ("**.html", "jinja2.ext.babel_extract")]
    keywords: dict[str, None] = {"t": None, "N_": None}
    found = set()
    for package in ("engine", "bot", "webhooks", "runtime", "nginx"):
        for _, _, message, _, _ in extract_from_dir(str(_ROOT / package), methods, keywords=keywords):
            found.add(message if isinstance(message, str) else message[0])
    return found
