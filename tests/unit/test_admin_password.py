from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from engine.errors import NotFound
from engine.main import new_admin_password
from engine.settings import Settings
from tests.conftest import Start
from tests.support.api import Refusal


async def test_a_lost_password_is_replaced_while_madang_runs_and_ends_old_log_ins(
    start_madang: Start,
) -> None:
    async with start_madang() as madang, madang.api() as api:
        await api.log_in("admin", madang.admin_password or "")
        fresh = await new_admin_password(madang.settings)
        with pytest.raises(Refusal, match="bad_token"):
            await api.call("GET", "/api/v1/apps")
        api.token = None
        with pytest.raises(Refusal, match="bad_credentials"):
            await api.log_in("admin", madang.admin_password or "")
        await api.log_in("admin", fresh)
        with pytest.raises(Refusal, match="password_change_required"):
            await api.call("GET", "/api/v1/apps")


def test_before_the_first_start_there_is_nobody(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, paas_root=tmp_path)
    with pytest.raises(NotFound):
        asyncio.run(new_admin_password(settings))
    assert not settings.database_path.exists()
