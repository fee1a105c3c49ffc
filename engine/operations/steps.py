"""The steps that plans are made of. Each has its effect at most once, however often it is called (STYLE 13)."""

from __future__ import annotations

import asyncio

from engine.operations.plan import Work
from engine.operations.spec import compose_file, instance_name, instance_spec, template_values
from engine.ports import InstanceSpec
from engine.store import apps


def _spec(work: Work) -> InstanceSpec:
    return instance_spec(work.app, work.template, work.world.folders.of(work.app), work.world.settings)


async def _compose(work: Work) -> str:
    spec = _spec(work)
    return compose_file(spec, await work.world.runtime.image(spec.image))


async def ensure_folder(work: Work) -> None:
    """Code from the template, an empty data folder, the compose file."""
    compose = await _compose(work)
    source = work.template.folder / "app"
    await asyncio.to_thread(work.world.folders.lay_out, work.app, source, template_values(work.app), compose)


async def remove_folder(work: Work) -> None:
    await asyncio.to_thread(work.world.folders.remove, work.app)


async def ensure_instance(work: Work) -> None:
    instance = await work.world.runtime.ensure(_spec(work))
    work.journal["address"] = instance.address


async def renew_instance(work: Work) -> None:
    """`ensure_instance` for what was laid out earlier: the compose file follows the image and the limits of today."""
    await ensure_instance(work)
    await asyncio.to_thread(work.world.folders.keep_compose, work.app, await _compose(work))


async def stop_instance(work: Work) -> None:
    await work.world.runtime.stop(instance_name(work.app))


async def remove_instance(work: Work) -> None:
    await work.world.runtime.remove(instance_name(work.app))


async def wait_until_ready(work: Work) -> None:
    """The program answers; meanwhile its files go to the disk."""
    settled = asyncio.create_task(asyncio.to_thread(work.world.folders.settle, work.app))
    try:
        await work.world.runtime.wait_ready(
            instance_name(work.app),
            port=work.template.port,
            path=work.template.health_path,
            timeout_s=work.world.settings.start_timeout_s,
        )
    finally:
        await settled


async def open_route(work: Work) -> None:
    async with work.world.database.write() as tx:
        await apps.open_route(tx, work.app, work.journal["address"])
    await work.world.routes.publish()


async def close_route(work: Work) -> None:
    async with work.world.database.write() as tx:
        await apps.close_route(tx, work.app.id)
    await work.world.routes.publish()


async def verify_route(work: Work) -> None:
    """The app itself answers at its address, through the edge."""
    await work.world.edge.verify(work.app.label, path=work.template.health_path, timeout_s=10)
