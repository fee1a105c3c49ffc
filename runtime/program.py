"""A short-lived program of the host: run to its end within a deadline, killed otherwise, never left behind."""

from __future__ import annotations

import asyncio
from typing import Final

COMPLAINT_MAX: Final = 600


class ProgramFailed(Exception):
    """The reason, fit for the operator."""


async def output_of(*command: str, deadline_s: float, stdin: str = "") -> str:
    """What the program writes. Raises ProgramFailed when it is missing, fails or takes too long."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except FileNotFoundError:
        raise ProgramFailed(f"{command[0]} is not installed") from None
    try:
        async with asyncio.timeout(deadline_s):
            output, complaint = await process.communicate(stdin.encode())
    except TimeoutError:
        raise ProgramFailed(f"{command[0]} did not end within {deadline_s:.0f} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        said = (complaint or output).decode(errors="replace").strip()[-COMPLAINT_MAX:]
        raise ProgramFailed(f"{command[0]} failed: {said}")
    return output.decode()
