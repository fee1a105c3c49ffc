"""From an app to what is to run: pure."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, Final

from engine.catalogue import Template
from engine.domain import App
from engine.folders import AppFolder
from engine.ports import InstanceSpec
from engine.settings import Settings

_NOT_IN_YAML: Final = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")


def instance_name(app: App) -> str:
    """SPEC 2."""
    return f"paas-app-{app.userid}-{app.name}"


def environment(app: App, template: Template, settings: Settings) -> dict[str, str]:
    """What the app's program finds in its environment. The owner's key itself stays here; the app gets its hash."""
    values = {
        "ENABLE_API": app.settings.get("enableApi", "true" if template.supports_api else "false"),
        "SQLITE_PATH": "/data/db.sqlite3",
        "APP_TITLE": app.title,
        "APP_LOCALE": app.settings.get("locale", "ko"),
        "PUBLIC_URL": settings.app_url(app.label),
    }
    if app.owner_key:
        values["OWNER_KEY_SHA256"] = hashlib.sha256(app.owner_key.encode()).hexdigest()
    return values


def instance_spec(app: App, template: Template, folder: AppFolder, settings: Settings) -> InstanceSpec:
    return InstanceSpec(
        name=instance_name(app),
        app_id=app.id,
        userid=app.userid,
        appname=app.name,
        domain=f"{app.label}.{settings.paas_domain}",
        slot=app.slot,
        image=template.runtime,
        code_dir=folder.code,
        data_dir=folder.data,
        environment=environment(app, template, settings),
        port=template.port,
        health_path=template.health_path,
        memory_bytes=settings.default_mem_limit,
        cpus=settings.default_cpu_limit,
        pids=settings.default_pids_limit,
        restart_policy=settings.default_restart_policy,
    )


def compose_file(spec: InstanceSpec, image: str) -> str:
    """A docker-compose.yml that runs the same app without Madang, at http://localhost:3000 (SPEC 2, no lock-in)."""
    lines = [
        "# This app on its own, without Madang: run `docker-compose up` in this folder, then open",
        "# http://localhost:3000 (or set PORT=8000 before it for another port).",
        "services:",
        "  app:",
        f"    image: {_quoted(image)}",
        f"    container_name: {_quoted(spec.name)}",
        f"    restart: {_quoted(spec.restart_policy)}",
        "    read_only: true",
        "    cap_drop: [ALL]",
        "    security_opt: ['no-new-privileges:true']",
        f"    mem_limit: {spec.memory_bytes}",
        f"    cpus: {spec.cpus}",
        f"    pids_limit: {spec.pids}",
        "    tmpfs: ['/tmp:size=16m,mode=1777']",
        f"    ports: ['127.0.0.1:${{PORT:-3000}}:{spec.port}']",
        "    volumes:",
        "      - ./code:/app:ro",
        "      - ./data:/data",
        "    environment:",
        *(f"      {key}: {_quoted(value)}" for key, value in sorted(_with_port(spec).items())),
        "    logging:",
        "      driver: json-file",
        "      options: {max-size: 10m, max-file: '3'}",
    ]
    return "\n".join(lines) + "\n"


def _with_port(spec: InstanceSpec) -> Mapping[str, str]:
    return {**spec.environment, "PORT": str(spec.port)}


def _quoted(value: str) -> str:
    """A YAML string: JSON's form is one once the characters that YAML forbids or folds are escaped too, and `$` is
    doubled so that compose leaves it alone."""
    text = json.dumps(value, ensure_ascii=False).replace("$", "$$")
    return _NOT_IN_YAML.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def template_values(app: App) -> dict[str, Any]:
    """What a template's .j2 files may use."""
    return {
        "options": dict(app.settings),
        "title": app.title,
        "appname": app.name,
        "userid": app.userid,
        "locale": app.settings.get("locale", "ko"),
    }
