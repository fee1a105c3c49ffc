"""The methods that write into chats, and the one that answers a pressed button."""

from collections.abc import Awaitable, Callable
from typing import Any

from aiogram.types import File, InlineKeyboardMarkup, LinkPreviewOptions, Message

from .telegram_chats import ChatMessage, Room, StoredFile, Toast, World
from .telegram_markup import Markup, read_formatted, read_markup, read_message_text, wire_entities
from .telegram_people import Group
from .telegram_text import CAPTION_UNITS_MAX, MESSAGE_UNITS_MAX, Formatted, utf16_length
from .telegram_wire import Parameters, Refusal, bad_request, forbidden

Handler = Callable[[World, Parameters], Awaitable[Any]]
HANDLERS: dict[str, Handler] = {}

TOAST_UNITS_MAX = 200
MESSAGE_IDS_MAX = 100
UPLOAD_BYTES_MAX = {"document": 50 * 1024 * 1024, "photo": 10 * 1024 * 1024}
DOWNLOAD_BYTES_MAX = 20 * 1024 * 1024
IMAGE_MAGICS = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"BM")

ACTIONS = frozenset(
    {
        *("typing", "upload_photo", "record_video", "upload_video", "record_voice", "upload_voice"),
        *("upload_document", "choose_sticker", "find_location", "record_video_note", "upload_video_note"),
    }
)
# Accepted by Telegram for things that no chat here has; refused rather than silently ignored.
NOT_PLAYED = {
    "business_connection_id": "business connection not found",
    "message_thread_id": "message thread not found",
    "inline_message_id": "MESSAGE_ID_INVALID",
    "suggested_post_parameters": "SUGGESTED_POST_PEER_INVALID",
}


def answers(method: str) -> Callable[[Handler], Handler]:
    """Registers the function as what the server does for a method."""

    def register(handler: Handler) -> Handler:
        HANDLERS[method.lower()] = handler
        return handler

    return register


def find_room(world: World, parameters: Parameters) -> Room:
    """The chat of a call, if the bot may read it."""
    if "chat_id" not in parameters:
        raise bad_request("chat_id is empty")
    room = world.room(parameters.text("chat_id"))
    if room is None:
        raise bad_request("chat not found")
    for name, detail in NOT_PLAYED.items():
        if name in parameters:
            raise bad_request(detail)
    if room.refusal and not room.is_private:
        raise forbidden(room.refusal)
    return room


def find_writable_room(world: World, parameters: Parameters) -> Room:
    room = find_room(world, parameters)
    if room.refusal:
        raise forbidden(room.refusal)
    return room


@answers("sendMessage")
async def send_message(world: World, parameters: Parameters) -> Message:
    formatted = read_message_text(parameters)
    if utf16_length(formatted.text) > MESSAGE_UNITS_MAX:
        raise bad_request("Message is too long")
    entities = wire_entities(formatted, world.users.get)
    preview = parameters.decoded("link_preview_options")
    options = LinkPreviewOptions.model_validate(preview) if preview else None
    return _put(world, parameters, None, text=formatted.text, entities=entities, link_preview_options=options)


@answers("sendDocument")
async def send_document(world: World, parameters: Parameters) -> Message:
    caption = _caption(parameters)
    file = _file(world, parameters, "document")
    return _put(world, parameters, file, document=file.as_document(), **_caption_fields(world, caption))


@answers("sendPhoto")
async def send_photo(world: World, parameters: Parameters) -> Message:
    caption = _caption(parameters)
    upload = parameters.upload("photo")
    if upload and upload.content and not upload.content.startswith(IMAGE_MAGICS):
        raise bad_request("IMAGE_PROCESS_FAILED")
    file = _file(world, parameters, "photo")
    return _put(world, parameters, file, photo=file.as_photo(), **_caption_fields(world, caption))


def _caption(parameters: Parameters) -> Formatted:
    caption = read_formatted(parameters, "caption", "caption_entities")
    if utf16_length(caption.text) > CAPTION_UNITS_MAX:
        raise bad_request("message caption is too long")
    return caption


def _caption_fields(world: World, caption: Formatted) -> dict[str, Any]:
    return {"caption": caption.text or None, "caption_entities": wire_entities(caption, world.users.get)}


def _file(world: World, parameters: Parameters, kind: str) -> StoredFile:
    upload = parameters.upload(kind)
    if upload is None:
        return _known_file(world, parameters, kind)
    if not upload.content:
        raise bad_request("file must be non-empty")
    if len(upload.content) > UPLOAD_BYTES_MAX[kind]:
        raise Refusal(413, "Request Entity Too Large")
    return world.store(kind, upload.name, upload.mime_type, upload.content)


def _known_file(world: World, parameters: Parameters, kind: str) -> StoredFile:
    value = parameters.text(kind)
    if not value:
        raise bad_request(f"There is no {kind} in the request")
    if value.startswith(("http://", "https://")):
        raise bad_request("Failed to get HTTP URL content")  # nothing here reaches out to the network
    file = world.files.get(value)
    if file is None:
        raise bad_request("wrong file identifier/HTTP URL specified")
    if file.kind != kind:
        raise bad_request(f"Can't use file of type {file.kind.title()} as {kind.title()}")
    return file


def _put(world: World, parameters: Parameters, file: StoredFile | None, **content: Any) -> Message:
    room = find_writable_room(world, parameters)
    markup = read_markup(parameters, private=room.is_private)
    message = Message(
        message_id=world.next_message_id(room),
        date=world.clock.now().replace(microsecond=0),
        chat=room.info,
        from_user=world.bot,
        reply_to_message=_replied(room, parameters),
        has_protected_content=parameters.flag("protect_content") or None,
        reply_markup=markup if isinstance(markup, InlineKeyboardMarkup) else None,
        **content,
    )
    return room.put(ChatMessage(room, message, markup, file)).current


def _replied(room: Room, parameters: Parameters) -> Message | None:
    given = parameters.decoded("reply_parameters") or {}
    message_id = given.get("message_id") or parameters.integer("reply_to_message_id")
    if not message_id:
        return None
    replied = room.message(message_id)
    if replied:
        return replied.current.model_copy(update={"reply_to_message": None})
    if given.get("allow_sending_without_reply") or parameters.flag("allow_sending_without_reply"):
        return None
    raise bad_request("message to be replied not found")


@answers("editMessageText")
async def edit_message_text(world: World, parameters: Parameters) -> Message:
    formatted = read_message_text(parameters)
    message = _editable(world, parameters)
    if message.current.text is None:
        raise bad_request("There is no text in the message to edit")
    if utf16_length(formatted.text) > MESSAGE_UNITS_MAX:
        raise bad_request("MESSAGE_TOO_LONG")
    markup = read_markup(parameters, private=message.room.is_private, inline_only=True)
    entities = wire_entities(formatted, world.users.get)
    same_text = (formatted.text, tuple(entities or ())) == (message.text, message.entities)
    if same_text and _same(markup, message.markup):
        raise _not_modified()
    now = world.clock.now()
    # A new keyboard alone does not mark a message as edited.
    edited = message.current.edit_date if same_text else int(now.timestamp())
    message.change(markup, now, text=formatted.text, entities=entities, edit_date=edited)
    return message.current


@answers("editMessageReplyMarkup")
async def edit_message_reply_markup(world: World, parameters: Parameters) -> Message:
    message = _editable(world, parameters)
    markup = read_markup(parameters, private=message.room.is_private, inline_only=True)
    if _same(markup, message.markup):
        raise _not_modified()
    message.change(markup, world.clock.now())
    return message.current


def _not_modified() -> Refusal:
    return bad_request(
        "message is not modified: specified new message content and reply markup are exactly the same as a current "
        "content and reply markup of the message"
    )


def _same(one: Markup | None, other: Markup | None) -> bool:
    return (one and one.model_dump(warnings=False)) == (other and other.model_dump(warnings=False))


def _editable(world: World, parameters: Parameters) -> ChatMessage:
    if "chat_id" not in parameters and "message_id" not in parameters:
        raise bad_request(
            "MESSAGE_ID_INVALID"
            if "inline_message_id" in parameters
            else "Message identifier is not specified"
        )
    room = find_writable_room(world, parameters)
    message = room.message(parameters.integer("message_id"))
    if message is None:
        raise bad_request("message to edit not found")
    author = message.current.from_user
    has_other_markup = message.markup is not None and not message.keyboard
    if author is None or author.id != world.bot.id or has_other_markup:
        raise bad_request("Message can't be edited")
    return message


@answers("deleteMessage")
async def delete_message(world: World, parameters: Parameters) -> bool:
    for name, words in (("chat_id", "Chat"), ("message_id", "Message")):
        if not parameters.text(name):
            raise bad_request(f"{words} identifier is not specified")
    room = find_room(world, parameters)
    message = room.message(parameters.integer("message_id"))
    if message is None:
        raise bad_request("message to delete not found")
    _check_deletable(world, message)
    message.delete()
    return True


@answers("deleteMessages")
async def delete_messages(world: World, parameters: Parameters) -> bool:
    """Identifiers of messages that are not there are skipped."""
    given = parameters.decoded("message_ids")
    if not given:
        raise bad_request("Message identifiers are not specified")
    if len(given) > MESSAGE_IDS_MAX:
        raise bad_request("Too many message identifiers specified")
    room = find_room(world, parameters)
    if any(number <= 0 for number in given):
        raise bad_request("Invalid message identifier specified")
    found = [message for number in given if (message := room.message(number))]
    for message in found:
        _check_deletable(world, message)
    for message in found:
        message.delete()
    return True


def _check_deletable(world: World, message: ChatMessage) -> None:
    author = message.current.from_user
    own = author is not None and author.id == world.bot.id
    room = message.room
    if isinstance(room, Group) and not own and not room.bot_is_admin:
        raise bad_request("Message can't be deleted")
    age_s = (world.clock.now() - message.current.date).total_seconds()
    is_admin = isinstance(room, Group) and room.bot_is_admin
    if age_s > world.limits.delete_within_s and not is_admin:
        raise bad_request("Message can't be deleted for everyone")


@answers("answerCallbackQuery")
async def answer_callback_query(world: World, parameters: Parameters) -> bool:
    """A second answer is refused like a late one: no client would show it."""
    press = world.presses.get(parameters.text("callback_query_id"))
    now = world.clock.now()
    late = press and (now - press.pressed_at).total_seconds() > world.limits.callback_answer_s
    if press is None or late or press.answered_at:
        raise bad_request("query is too old and response timeout expired or query ID is invalid")
    text, url = parameters.text("text"), parameters.text("url")
    if utf16_length(text) > TOAST_UNITS_MAX:
        raise bad_request("MESSAGE_TOO_LONG")
    if url and not url.startswith(("https://t.me/", "tg://")):
        raise bad_request("URL_INVALID")
    press.answered_at = now
    if text or url:
        press.toast = Toast(text, parameters.flag("show_alert"), url, now)
        world.toasts[press.user_id].append(press.toast)
    world.changes.announce()
    return True


@answers("sendChatAction")
async def send_chat_action(world: World, parameters: Parameters) -> bool:
    action = parameters.text("action").lower()
    if action not in ACTIONS:
        raise bad_request("Wrong parameter action in request")
    find_writable_room(world, parameters).actions.append(action)
    world.changes.announce()
    return True


@answers("getFile")
async def get_file(world: World, parameters: Parameters) -> File:
    if "file_id" not in parameters:
        raise bad_request("file_id not specified")
    file = world.files.get(parameters.text("file_id"))
    if file is None:
        raise bad_request("wrong file_id or the file is temporarily unavailable")
    if len(file.content) > DOWNLOAD_BYTES_MAX:
        raise bad_request("file is too big")
    world.downloads[file.path] = file
    return File(
        file_id=file.file_id, file_unique_id=file.unique_id, file_size=len(file.content), file_path=file.path
    )
