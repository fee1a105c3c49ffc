"""The images that apps run on, made here: a base, its Python packages, and our small entry program.

An image's tag is the hash of everything it is made of, so "is it there?" is one question to Docker. The base is pulled;
where nothing can be pulled, it is put together once from the distribution's packages and kept as a tarball.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import platform
import shutil
import sys
import tarfile
import tempfile
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from aiodocker import Docker, DockerError
from aiodocker.exceptions import DockerStreamError

from engine.errors import Broken
from runtime.base import IMPORTED_BASE, Recipe, put_together, recipe, short
from runtime.daemon import CALL_S, GONE, TAKEN, Daemon, tolerating
from runtime.docker_config import DockerOptions
from runtime.program import ProgramFailed, output_of

PULL_STALL_S: Final = 15.0
BUILD_S: Final = 900.0
PIP_S: Final = 300.0
LOCK_S: Final = 1800.0
LOCK_PAUSE_S: Final = 0.2
SCRATCH: Final = "half-"
OURS: Final = "madang.installation"
IMAGE: Final = "madang.image"
# Only what the two families call differently; the rest is asked of pip.
WHEEL_PLATFORMS: Final = ("manylinux2014", "manylinux_2_28")
PYTHON_BASE: Final = """\
ARG BASE
FROM ${BASE}
RUN command -v python3 >/dev/null || (apt-get update \\
 && apt-get install -y --no-install-recommends python3 ca-certificates tzdata && rm -rf /var/lib/apt/lists/*)
"""


@dataclass(frozen=True, slots=True)
class Base:
    """An image to build on: its immutable id, and the python3 in it ("3.11")."""

    id: str
    python: str


class Images:
    """Makes and finds this installation's images. Processes that share `cache_dir` take turns."""

    def __init__(self, daemon: Daemon, options: DockerOptions) -> None:
        self._daemon = daemon
        self._options = options

    def names(self) -> list[str]:
        """Every image there is a folder for."""
        return sorted(file.parent.name for file in self._options.images_dir.glob("*/Dockerfile"))

    async def ensure_image(self, name: str) -> str:
        """The tag of the current image `name`, made if need be; its older ones without use are removed.
        Raises Broken("unknown_image"), Broken("base_image_unavailable"), Broken("packages_unavailable")."""
        if self._options.runtime_image:
            return await self._given(self._options.runtime_image)
        folder = self._options.images_dir / name
        if not (folder / "Dockerfile").is_file():
            raise Broken("unknown_image", name=name)
        async with self._turn():
            base = await self._base()
            tag = f"madang-runtime-{name}:{content_hash(folder, base.id)}"
            if await self._id(tag) is None:
                await self._make(name, folder, base, tag)
            await self._prune(name, tag)
        return tag

    async def _given(self, image: str) -> str:
        if await self._id(image) is None and not await self._pulled(image):
            raise Broken(
                "base_image_unavailable", detail=f"RUNTIME_IMAGE {image} is not here and cannot be pulled"
            )
        return image

    async def _make(self, name: str, folder: Path, base: Base, tag: str) -> None:
        self._say(f"building the {name} image")
        packages = await self._packages(folder / "requirements.txt", base.python)
        await self._build({**_files_in(folder), "packages": packages}, tag, name, {"BASE": base.id})

    # -- base -------------------------------------------------------------------------------------------------------

    async def _base(self) -> Base:
        """What is here goes before what has to be fetched, so that a start without a network is a quick one."""
        made = recipe(Path("/etc/os-release"), Path("/etc/apt"))
        image = await self._id(self._options.base_image) or await self._id(made.tag)
        if image is None and await self._pulled(self._options.base_image):
            image = await self._id(self._options.base_image)
        if image is None:
            image = await self._put_together(made)
        return await self._with_python(image)

    async def _with_python(self, image: str) -> Base:
        tag = f"madang-python-base:{short(image, PYTHON_BASE)}"
        if await self._id(tag) is None:
            await self._build({"Dockerfile": PYTHON_BASE}, tag, "python-base", {"BASE": image})
        image = await self._id(tag) or image
        note = self._options.cache_dir / f"python-of-{image.removeprefix('sha256:')[:24]}"
        if not note.exists():
            _write(note, await self._python_version(image))
        return Base(image, note.read_text())

    async def _python_version(self, image: str) -> str:
        """Asked of the image itself, in a container without a network that is gone afterwards."""
        config: dict[str, Any] = {
            "Image": image,
            "Entrypoint": ["python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
            "Cmd": [],
            "HostConfig": {"NetworkMode": "none"},
            "Labels": {OURS: self._options.installation},
        }
        async with self._daemon.call(CALL_S) as docker:
            container = await docker.containers.create(config)
            try:
                await container.start()
                await container.wait()
                return "".join(await container.log(stdout=True)).strip()
            finally:
                await container.delete(force=True)

    async def _pulled(self, image: str) -> bool:
        """Whether it could be pulled; a registry that says nothing for a while counts as none."""
        self._say(f"pulling {image}")
        async with self._daemon.call(BUILD_S) as docker:
            progress = aiter(docker.images.pull(image, stream=True))
            try:
                while True:
                    async with asyncio.timeout(PULL_STALL_S):
                        await anext(progress)
            except StopAsyncIteration:
                return True
            except (DockerError, TimeoutError):
                return False

    async def _put_together(self, made: Recipe) -> str:
        """The base from the distribution's packages, imported."""
        tarball = self._options.cache_dir / f"{made.tag.replace(':', '-')}.tar.gz"
        if not tarball.exists():
            self._say(f"{self._options.base_image} cannot be pulled; making one of {made.suite}'s packages")
            async with _scratch(self._options.cache_dir) as scratch:
                await put_together(made, scratch / "root", scratch / "base.tar.gz")
                (scratch / "base.tar.gz").rename(tarball)
        await self._build({"Dockerfile": IMPORTED_BASE, "base.tar.gz": tarball}, made.tag, "base", {})
        return await self._id(made.tag) or made.tag

    # -- packages ---------------------------------------------------------------------------------------------------

    async def _packages(self, requirements: Path, python: str) -> Path:
        """A folder with what `requirements` asks for, as wheels for the image's Python. Collected once."""
        wanted = requirements.read_text() if requirements.exists() else ""
        folder = self._options.cache_dir / f"packages-{short(wanted, python, platform.machine())}"
        if folder.exists():
            return folder
        self._say("collecting Python packages")
        async with _scratch(self._options.cache_dir) as scratch:
            target = scratch / "packages"
            target.mkdir()
            if wanted:
                await _collected(pip_command(requirements, target, python))
            target.rename(folder)
        return folder

    # -- Docker -----------------------------------------------------------------------------------------------------

    async def _id(self, image: str) -> str | None:
        async with self._daemon.call() as docker:
            with tolerating(GONE):
                return str((await docker.images.inspect(image))["Id"])
        return None

    async def _build(
        self, files: Mapping[str, Path | str], tag: str, name: str, arguments: Mapping[str, str]
    ) -> None:
        """Raises Broken("image_build_failed", detail=...) with what the build said last."""
        labels = {OURS: self._options.installation, IMAGE: name}
        with tempfile.TemporaryFile(dir=self._options.cache_dir) as context:
            await asyncio.to_thread(_pack, files, context)
            context.seek(0)
            async with self._daemon.call(BUILD_S) as docker:
                steps = docker.images.build(
                    fileobj=context,
                    encoding="identity",
                    tag=tag,
                    labels=labels,
                    buildargs=arguments,
                    stream=True,
                    forcerm=True,
                )
                await _followed(steps)

    async def _prune(self, name: str, current: str) -> None:
        """Images of this installation that nothing uses and that are not the current one. Docker refuses those in use."""
        filters = {"label": [f"{OURS}={self._options.installation}", f"{IMAGE}={name}"]}
        async with self._daemon.call() as docker:
            for image in await docker.images.list(filters=filters):
                tags = image["RepoTags"] or []
                if current not in tags and any(tag.startswith(f"madang-runtime-{name}:") for tag in tags):
                    await _removed(docker, tags)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """One build at a time on this cache, whoever asks for it. The kernel ends the turn of a process that died."""
        self._options.cache_dir.mkdir(parents=True, exist_ok=True)
        with (self._options.cache_dir / "images.lock").open("w") as file:
            try:
                async with asyncio.timeout(LOCK_S):
                    while not _locked(file.fileno()):  # noqa: ASYNC110 - the lock is another process's
                        await asyncio.sleep(LOCK_PAUSE_S)
            except TimeoutError:
                raise Broken(
                    "image_build_failed", detail="another process has been building for too long"
                ) from None
            await asyncio.to_thread(_swept, self._options.cache_dir)
            yield

    def _say(self, text: str) -> None:
        self._options.progress(text)


def _files_in(folder: Path) -> dict[str, Path]:
    return {path.name: path for path in sorted(folder.iterdir()) if path.is_file()}


def content_hash(folder: Path, base_id: str) -> str:
    """Of all that the image in `folder` is made of."""
    digest = hashlib.sha256(base_id.encode())
    for name, file in _files_in(folder).items():
        digest.update(name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def pip_command(requirements: Path, target: Path, python: str) -> tuple[str, ...]:
    """Wheels for another interpreter than ours, so that nothing of a package is run while it is collected."""
    platforms = [f"--platform={kind}_{platform.machine()}" for kind in WHEEL_PLATFORMS]
    return (
        *(
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-input",
            "--disable-pip-version-check",
            "--no-compile",
        ),
        *(
            "--target",
            str(target),
            "--only-binary=:all:",
            "--implementation",
            "cp",
            "--python-version",
            python,
        ),
        *(*platforms, "-r", str(requirements)),
    )


def _write(path: Path, text: str) -> None:
    half = path.with_suffix(".half")
    half.write_text(text)
    half.rename(path)


@asynccontextmanager
async def _scratch(parent: Path) -> AsyncIterator[Path]:
    """A folder that is gone afterwards. A whole system may have been unpacked in it, so a thread takes it away."""
    folder = Path(tempfile.mkdtemp(dir=parent, prefix=SCRATCH))
    try:
        yield folder
    finally:
        await asyncio.to_thread(shutil.rmtree, folder)


def _swept(cache_dir: Path) -> None:
    """What a build that was killed left behind."""
    for leftover in cache_dir.glob(f"{SCRATCH}*"):
        shutil.rmtree(leftover)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _pack(files: Mapping[str, Path | str], target: Any) -> None:
    """A build context: paths as they are, strings as files of that text. Owned by root, whoever packs it."""
    with tarfile.open(fileobj=target, mode="w") as archive:
        for name, source in files.items():
            with tempfile.NamedTemporaryFile("w") as text:
                if isinstance(source, str):
                    text.write(source)
                    text.flush()
                archive.add(text.name if isinstance(source, str) else source, arcname=name, filter=_readable)


def _readable(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    entry.mode |= 0o755 if entry.isdir() else 0o644
    return entry


async def _followed(steps: AsyncIterator[dict[str, Any]]) -> None:
    said: list[str] = []
    try:
        said.extend([str(step.get("stream", "")) async for step in steps])
    except DockerStreamError as error:
        detail = ("".join(said[-20:]) + error.message)[-1000:]
        raise Broken("image_build_failed", detail=detail) from error


async def _removed(docker: Docker, tags: Iterable[str]) -> None:
    for tag in tags:
        with tolerating(GONE, TAKEN):
            await docker.images.delete(tag)


async def _collected(command: Sequence[str]) -> None:
    try:
        await output_of(*command, deadline_s=PIP_S)
    except ProgramFailed as error:
        raise Broken("packages_unavailable", detail=str(error)) from None
