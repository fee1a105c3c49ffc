"""A base system made from the distribution's own packages, for machines that reach no image registry.

It is put together once, trimmed to what apps need, and kept as a tarball that Docker unpacks.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from engine.errors import Broken
from runtime.program import ProgramFailed, output_of

DEBOOTSTRAP_S: Final = 900.0
CODE: Final = "base_image_unavailable"
PACKAGES: Final = ("python3", "ca-certificates", "tzdata")
TRIMMED: Final = (
    "var/cache/apt/*",
    "var/lib/apt/lists/*",
    "var/log/*",
    "usr/share/doc/*",
    "usr/share/man/*",
    "usr/share/info/*",
    "usr/share/locale/*",
    "dev/*",
)
DEFAULT_SUITE: Final = "bookworm"
IMPORTED_BASE: Final = """\
FROM scratch
ADD base.tar.gz /
CMD ["bash"]
"""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a base is made from packages."""

    suite: str
    mirror: str = ""  # "": the one that debootstrap knows for the suite

    @property
    def tag(self) -> str:
        return f"madang-base:{short(self.suite, *PACKAGES, *TRIMMED, IMPORTED_BASE)}"


def recipe(os_release: Path, apt: Path) -> Recipe:
    """The host's own distribution and mirror where that is Debian or Ubuntu, else Debian's."""
    facts = _facts(os_release.read_text() if os_release.exists() else "")
    suite = facts.get("VERSION_CODENAME", "")
    if facts.get("ID") not in ("debian", "ubuntu") or not suite:
        return Recipe(DEFAULT_SUITE)
    files = [
        apt / "sources.list",
        *sorted((apt / "sources.list.d").glob("*.list")),
        *sorted((apt / "sources.list.d").glob("*.sources")),
    ]
    mirrors = [mirror for file in files if file.exists() for mirror in mirrors_in(file.read_text(), suite)]
    return Recipe(suite, *mirrors[:1])


def mirrors_in(text: str, suite: str) -> list[str]:
    """Addresses that a file of apt's sources, of either form, names for exactly `suite`."""
    lines = re.findall(rf"^deb\s+(?:\[[^\]]*\]\s+)?(https?://\S+)\s+{re.escape(suite)}\s", text, re.MULTILINE)
    for block in re.split(r"\n\s*\n", text):
        fields = dict(re.findall(r"^(URIs|Suites|Types):[ \t]*(.+)$", block, re.MULTILINE))
        if suite in fields.get("Suites", "").split() and "deb" in fields.get("Types", "").split():
            lines += [uri for uri in fields.get("URIs", "").split() if uri.startswith("http")]
    return lines


async def put_together(made: Recipe, root: Path, tarball: Path) -> None:
    """Makes `tarball` by way of the folder `root`. Raises Broken("base_image_unavailable") that says what to do."""
    if shutil.which("debootstrap") is None or os.geteuid() != 0:
        raise Broken(
            CODE,
            detail="the base image cannot be pulled: give Docker a way to its registry, or install the package "
            "debootstrap and start once as root, or name an image that is here in RUNTIME_BASE_IMAGE",
        )
    try:
        await output_of(*debootstrap_command(made, root), deadline_s=DEBOOTSTRAP_S)
        await asyncio.to_thread(trim, root)
        packed = ("tar", "-C", str(root), "--numeric-owner", "-czf", str(tarball), ".")
        await output_of(*packed, deadline_s=DEBOOTSTRAP_S)
    except ProgramFailed as error:
        raise Broken(CODE, detail=str(error)) from None


def debootstrap_command(made: Recipe, root: Path) -> tuple[str, ...]:
    """In namespaces of its own: however it ends, none of its processes and mounts stays."""
    return (
        *("unshare", "--mount", "--pid", "--fork", "--kill-child"),
        *(
            "debootstrap",
            "--variant=minbase",
            f"--include={','.join(PACKAGES)}",
            made.suite,
            str(root),
            *filter(None, [made.mirror]),
        ),
    )


def trim(root: Path) -> None:
    """Takes away what no app needs."""
    for pattern in TRIMMED:
        for path in root.glob(pattern):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def _facts(text: str) -> dict[str, str]:
    return {key: value.strip("\"'") for key, value in re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE)}


def short(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]
