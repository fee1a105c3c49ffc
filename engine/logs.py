"""The engine's log: one JSON object a line, in a file that is turned over at 10 MB and kept five times.

Nothing in it may hold a secret; what is logged names things by id, handle and code.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Final

_OURS: Final = ("engine", "bot", "runtime", "nginx", "webhooks")
_BYTES: Final = 10 * 1024 * 1024
_KEPT: Final = 5


class JsonLines(logging.Formatter):
    """at (UTC), level, logger, message, and exception where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def log_to(folder: Path, level: str) -> RotatingFileHandler:
    """Sends our own records from `level` up, and others' warnings, to `folder`/engine.log. Returns the handler, to be
    handed to `stop_logging` at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    handler = RotatingFileHandler(folder / "engine.log", maxBytes=_BYTES, backupCount=_KEPT, encoding="utf-8")
    handler.setFormatter(JsonLines())
    logging.getLogger().addHandler(handler)
    for name in _OURS:
        logging.getLogger(name).setLevel(level.upper())
    return handler


def stop_logging(handler: RotatingFileHandler) -> None:
    logging.getLogger().removeHandler(handler)
    handler.close()
