"""The methods about the bot itself: who it is, its commands and texts, and how it gets its updates."""

import ipaddress
import re
from typing import Any
from urllib.parse import urlsplit

from aiogram.types import (
    AcceptedGiftTypes,
    BotCommand,
    BotDescription,
    BotName,
    BotShortDescription,
    ChatFullInfo,
    User,
    WebhookInfo,
)

from .telegram_chats import World
from .telegram_links import WrongLink, normal_link
from .telegram_messages import answers, find_room
from .telegram_people import Group
from .telegram_updates import DEFAULT_TYPES, Webhook
from .telegram_wire import JsonObject, Parameters, Refusal, bad_request

COMMANDS_MAX = 100
COMMAND = re.compile(r"[a-z0-9_]{1,32}")
COMMAND_MAX = 32
DESCRIPTION_MAX = 256
SECRET_MAX = 256
WEBHOOK_PORTS = (80, 88, 443, 8443)
PROFILE_MAX = {"name": 64, "description": 512, "short_description": 120}
PROFILE_TYPES: dict[str, Any] = {
    "name": BotName,
    "description": BotDescription,
    "short_description": BotShortDescription,
}


@answers("getMe")
async def get_me(world: World, parameters: Parameters) -> User:
    return world.bot


@answers("logOut")
async def log_out(world: World, parameters: Parameters) -> bool:
    world.logged_out = True
    return True


@answers("close")
async def close(world: World, parameters: Parameters) -> bool:
    return True


@answers("getUpdates")
async def get_updates(world: World, parameters: Parameters) -> list[JsonObject]:
    if not world.updates.webhook:
        world.updates.allow(parameters.decoded("allowed_updates"))
    return await world.updates.poll(
        parameters.integer("offset"), parameters.integer("limit", 100), parameters.integer("timeout")
    )


@answers("setWebhook")
async def set_webhook(world: World, parameters: Parameters) -> bool:
    url = parameters.text("url")
    drop_pending = parameters.flag("drop_pending_updates")
    if not url:
        await world.updates.set_webhook(None, drop_pending=drop_pending)
        return True
    if "certificate" in parameters.values or "certificate" in parameters.files:
        raise Refusal(501, "Not Implemented: certificates are not played here")
    secret = parameters.text("secret_token")
    if len(secret) > SECRET_MAX:
        raise bad_request("secret token is too long")
    if not re.fullmatch(r"[A-Za-z0-9_-]*", secret):
        raise bad_request("secret token contains unallowed characters")
    _check_webhook_url(url, local=world.local_mode)
    most = max(1, min(parameters.integer("max_connections", 40), 100_000 if world.local_mode else 100))
    world.updates.allow(parameters.decoded("allowed_updates"))
    webhook = Webhook(url, secret, most, parameters.text("ip_address"))
    await world.updates.set_webhook(webhook, drop_pending=drop_pending)
    return True


def _check_webhook_url(url: str, *, local: bool) -> None:
    parts = urlsplit(url if "://" in url else f"https://{url}")
    try:
        port = parts.port
    except ValueError:
        raise bad_request("invalid webhook URL specified") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise bad_request("invalid webhook URL specified")
    if local:
        return
    if parts.scheme != "https":
        raise bad_request("bad webhook: An HTTPS URL must be provided for webhook")
    if port is not None and port not in WEBHOOK_PORTS:
        raise bad_request("bad webhook: Webhook can be set up only on ports 80, 88, 443 or 8443")
    address = "127.0.0.1" if parts.hostname == "localhost" else parts.hostname
    if (
        re.fullmatch(r"[\d.]+|[\da-fA-F:]*:[\da-fA-F:]*", address)
        and not ipaddress.ip_address(address).is_global
    ):
        raise bad_request(f"bad webhook: IP address {address} is reserved")


@answers("deleteWebhook")
async def delete_webhook(world: World, parameters: Parameters) -> bool:
    await world.updates.set_webhook(None, drop_pending=parameters.flag("drop_pending_updates"))
    return True


@answers("getWebhookInfo")
async def get_webhook_info(world: World, parameters: Parameters) -> WebhookInfo:
    updates = world.updates
    webhook, error = updates.webhook, updates.last_error
    return WebhookInfo(
        url=webhook.url if webhook else "",
        has_custom_certificate=False,
        pending_update_count=len(updates.pending),
        ip_address=(webhook.ip_address or None) if webhook else None,
        last_error_date=error[0].replace(microsecond=0) if error else None,
        last_error_message=error[1] if error else None,
        max_connections=webhook.max_connections if webhook else None,
        allowed_updates=sorted(updates.allowed) if updates.allowed != DEFAULT_TYPES else None,
    )


@answers("setMyCommands")
async def set_my_commands(world: World, parameters: Parameters) -> bool:
    given = parameters.decoded("commands")
    if given is None:
        raise bad_request('Parameter "commands" is required')
    key = (_scope(world, parameters), _language(parameters))
    if len(given) > COMMANDS_MAX:
        raise bad_request("BOT_COMMANDS_TOO_MUCH")
    world.commands[key] = [_command(one) for one in given]
    if not given:
        del world.commands[key]
    return True


@answers("getMyCommands")
async def get_my_commands(world: World, parameters: Parameters) -> list[BotCommand]:
    return world.commands.get((_scope(world, parameters), _language(parameters)), [])


@answers("deleteMyCommands")
async def delete_my_commands(world: World, parameters: Parameters) -> bool:
    world.commands.pop((_scope(world, parameters), _language(parameters)), None)
    return True


def _command(given: JsonObject) -> BotCommand:
    command = given["command"].strip().removeprefix("/")
    description = given["description"].strip()
    if not command:
        raise bad_request("Command must be non-empty")
    if len(command) > COMMAND_MAX:
        raise bad_request(f"Command length must not exceed {COMMAND_MAX}")
    if not description:
        raise bad_request("Command description must be non-empty")
    if len(description) > DESCRIPTION_MAX:
        raise bad_request(f"Command description length must not exceed {DESCRIPTION_MAX}")
    if not COMMAND.fullmatch(command):
        raise bad_request("BOT_COMMAND_INVALID")
    return BotCommand(command=command, description=description)


def _scope(world: World, parameters: Parameters) -> str:
    """The scope as one word; those of a chat carry its number."""
    given = parameters.decoded("scope") or {"type": "default"}
    kind = str(given["type"])
    if not kind.startswith("chat"):
        return kind
    room = world.room(str(given["chat_id"]))
    if room is None:
        raise bad_request("chat not found")
    if kind != "chat" and room.is_private:
        raise bad_request("PEER_ID_INVALID")
    if kind == "chat_member":
        if given["user_id"] not in world.members[room.id]:
            raise bad_request("PARTICIPANT_ID_INVALID")
        return f"{kind}:{room.id}:{given['user_id']}"
    return f"{kind}:{room.id}"


def _language(parameters: Parameters) -> str:
    language = parameters.text("language_code")
    if not re.fullmatch(r"(?:[a-z]{2})?", language):
        raise bad_request("Invalid language code specified")
    return language


def _answer_profile(field: str) -> None:
    """Registers setMyX and getMyX for one text of the bot's profile; an empty text falls back to no language."""
    camel = field.title().replace("_", "")

    @answers(f"setMy{camel}")
    async def set_text(world: World, parameters: Parameters) -> bool:
        text = parameters.text(field).strip()
        if len(text) > PROFILE_MAX[field]:
            raise bad_request(
                f"BOT_{field.upper()}_TOO_LONG"
                if field == "name"
                else f"{field.replace('_', ' ')} is too long"
            )
        world.profile[field, _language(parameters)] = text
        return True

    @answers(f"getMy{camel}")
    async def get_text(world: World, parameters: Parameters) -> Any:
        named = world.bot.first_name if field == "name" else ""
        own = world.profile.get((field, _language(parameters)))
        return PROFILE_TYPES[field](**{field: own or world.profile.get((field, "")) or named})


for _field in PROFILE_MAX:
    _answer_profile(_field)


@answers("setChatMenuButton")
async def set_chat_menu_button(world: World, parameters: Parameters) -> bool:
    button = parameters.decoded("menu_button") or {"type": "default"}
    if button["type"] == "web_app":
        try:
            normal_link(button["web_app"]["url"], https_only=True)
        except WrongLink as error:
            raise bad_request(
                f"menu button Web App URL '{button['web_app']['url']}' is invalid: {error}"
            ) from None
    if "chat_id" not in parameters:
        world.menu_button = {"type": "commands"} if button["type"] == "default" else button
        return True
    room = find_room(world, parameters)
    if not room.is_private:
        raise bad_request("private chat not found")
    room.menu_button = None if button["type"] == "default" else button
    return True


@answers("getChatMenuButton")
async def get_chat_menu_button(world: World, parameters: Parameters) -> JsonObject:
    if "chat_id" not in parameters:
        return world.menu_button
    return find_room(world, parameters).menu_button or {"type": "default"}


@answers("getChat")
async def get_chat(world: World, parameters: Parameters) -> ChatFullInfo:
    room = find_room(world, parameters)
    gifts = AcceptedGiftTypes(
        unlimited_gifts=True,
        limited_gifts=True,
        unique_gifts=True,
        premium_subscription=True,
        gifts_from_channels=True,
    )
    username = room.info.username
    return ChatFullInfo(
        **room.info.model_dump(exclude_none=True),
        active_usernames=[username] if username else None,
        accent_color_id=abs(room.id) % 7,
        max_reaction_count=11,
        accepted_gift_types=gifts,
        join_to_send_messages=True if isinstance(room, Group) else None,
    )
