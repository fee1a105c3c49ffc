from __future__ import annotations

import json
import logging
from pathlib import Path

from engine.logs import log_to, stop_logging


def lines(folder: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (folder / "engine.log").read_text(encoding="utf-8").splitlines()]


def test_each_record_is_one_json_line_with_its_exception(tmp_path: Path) -> None:
    handler = log_to(tmp_path, "info")
    log = logging.getLogger("engine.anything")
    log.info("made %s\nfor %s", "diary", "민지")
    try:
        int("why")
    except ValueError:
        log.exception("bug")
    log.debug("not at this level")
    stop_logging(handler)
    log.info("after the end")
    made, bug = lines(tmp_path)
    assert (made["level"], made["logger"], made["message"]) == (
        "info",
        "engine.anything",
        "made diary\nfor 민지",
    )
    assert "ValueError: invalid literal" in bug["exception"]


def test_others_are_heard_from_warnings_up(tmp_path: Path) -> None:
    handler = log_to(tmp_path, "info")
    logging.getLogger("aiohttp.server").info("chatter")
    logging.getLogger("aiohttp.server").warning("trouble")
    stop_logging(handler)
    assert [line["message"] for line in lines(tmp_path)] == ["trouble"]
