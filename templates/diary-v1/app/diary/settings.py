"""What the environment says. Everything that differs between two diaries is here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

LANGUAGES = ("ko", "en")


@dataclass(frozen=True)
class Settings:
    port: int
    keeps_entries: bool  # ENABLE_API: True = entries in SQLite here, False = only in the visitor's browser
    sqlite_path: str
    owner_key_sha256: str  # 64 hex digits, or "" when missing or malformed
    title: str  # "" = "Diary" in the reader's language
    default_language: str
    public_url: str

    @classmethod
    def from_environ(cls, env: Mapping[str, str]) -> Settings:
        key_hash = env.get("OWNER_KEY_SHA256", "").strip().lower()
        language = env.get("APP_LOCALE", "").strip().lower()[:2]
        return cls(
            port=int(env.get("PORT") or 3000),
            # Anything but a clear "false" means the private kind: a typo must not open a diary.
            keeps_entries=env.get("ENABLE_API", "").strip().lower() != "false",
            sqlite_path=env.get("SQLITE_PATH") or "/data/db.sqlite3",
            owner_key_sha256=key_hash if re.fullmatch("[0-9a-f]{64}", key_hash) else "",
            title=env.get("APP_TITLE", "").strip(),
            default_language=language if language in LANGUAGES else LANGUAGES[0],
            public_url=env.get("PUBLIC_URL", "").strip().rstrip("/").lower(),
        )

    @property
    def is_locked(self) -> bool:
        """Entries on the server and no owner key: nobody can prove to be the owner, so nobody comes in."""
        return self.keeps_entries and not self.owner_key_sha256

    @property
    def is_https(self) -> bool:
        return self.public_url.startswith("https://")
