"""Every setting, read from the environment and `.env` (SPEC 7 and 9). The environment wins.

Names are those that the earlier systems used; each has its meaning beside it in `.env.example`.
"""

from __future__ import annotations

import re
import socket
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from engine.errors import Broken

_UNITS = {"": 1, "b": 1, "k": 1024, "m": 1024**2, "g": 1024**3}
_HERE = Path(__file__).resolve().parent.parent


def parse_size(value: object) -> int:
    """Bytes from Docker's way of writing them: "256m", "1g", 268435456."""
    match = re.fullmatch(r"(\d+)\s*([bkmg]?)b?", str(value).strip().lower())
    if not match:
        raise ValueError("a size such as 256m or 1g is wanted")
    return int(match[1]) * _UNITS[match[2]]


def _domain(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", value.lower()):
        raise ValueError(
            "a host name such as localhost or apps.example.com is wanted, without http:// and port"
        )
    return value.lower()


def _long_secret(value: SecretStr) -> SecretStr:
    """RFC 7518, 3.2: a key for HS256 has at least 256 bits."""
    if len(value.get_secret_value().encode()) < 32:
        raise ValueError("at least 32 characters of chance are wanted")
    return value


Size = Annotated[int, BeforeValidator(parse_size)]
Port = Annotated[int, Field(ge=1, le=65535)]


class Settings(BaseSettings):
    """See `.env.example` for each one's meaning; defaults suit a first try on one's own machine."""

    model_config = SettingsConfigDict(env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True)

    paas_domain: Annotated[str, AfterValidator(_domain)] = "localhost"
    paas_public_url: str = ""
    paas_bind: str = "127.0.0.1"
    paas_http_port: Port = 8080
    portal_port: Port = 3000

    paas_root: Path = Path("var")
    paas_apps_dir: Path | None = None
    paas_templates_dir: Path | None = None
    portal_db_path: Path | None = None
    madang_cache: Path | None = None
    database_url: str = ""

    runtime_driver: Literal["docker", "memory"] = "docker"
    runtime_base_image: str = "debian:bookworm-slim"
    runtime_image: str = ""
    docker_host: str = "unix:///var/run/docker.sock"
    paas_network: str = "paas-proxy"
    paas_subnet: str = ""
    app_egress_private: bool = False

    default_mem_limit: Size = 256 * 1024**2
    default_cpu_limit: Annotated[float, Field(gt=0, le=64)] = 0.5
    default_pids_limit: Annotated[int, Field(ge=16)] = 128
    default_restart_policy: Literal["no", "always", "unless-stopped", "on-failure"] = "unless-stopped"
    max_apps_per_user: Annotated[int, Field(ge=0)] = 5
    max_total_apps: Annotated[int, Field(ge=0)] = 20
    trash_keep_days: Annotated[int, Field(ge=0)] = 30

    worker_concurrency: Annotated[int, Field(ge=1, le=64)] = 8
    start_timeout_s: Annotated[float, Field(gt=0)] = 60.0

    registration: Literal["open", "approval", "invite"] | None = None
    admin_password: SecretStr | None = None
    bcrypt_rounds: Annotated[int, Field(ge=4, le=16)] = 10
    jwt_secret: Annotated[SecretStr, AfterValidator(_long_secret)] | None = None
    jwt_ttl_hours: Annotated[int, Field(ge=1)] = 24
    session_cookie_name: str = "paas_portal_session"
    session_ttl_hours: Annotated[int, Field(ge=1)] = 168
    portal_cookie_secure: bool = False
    trusted_proxies: str = "127.0.0.1,::1"

    telegram_bot_token: SecretStr | None = None
    telegram_api_base_url: str = "https://api.telegram.org"

    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @cached_property
    def root(self) -> Path:
        """All state lives below it."""
        return self.paas_root.expanduser().resolve()

    @cached_property
    def apps_dir(self) -> Path:
        return (self.paas_apps_dir or self.root / "apps").expanduser().resolve()

    @cached_property
    def templates_dir(self) -> Path:
        return (self.paas_templates_dir or _HERE / "templates").expanduser().resolve()

    @cached_property
    def database_path(self) -> Path:
        return (self.portal_db_path or self.root / "portal.sqlite3").expanduser().resolve()

    @cached_property
    def public_url(self) -> str:
        """Where people reach Madang, without a slash at the end."""
        return self.paas_public_url.rstrip("/") or f"http://{self.authority(self.paas_domain)}"

    def authority(self, host: str) -> str:
        return host if self.paas_http_port == 80 else f"{host}:{self.paas_http_port}"

    def app_url(self, label: str) -> str:
        """The address of the app with that host label."""
        scheme, _, rest = self.public_url.partition("://")
        return f"{scheme}://{label}.{rest}"

    @cached_property
    def cache_dir(self) -> Path:
        """Where costly things that any installation on this machine may share are kept (base images)."""
        return (self.madang_cache or Path.home() / ".cache" / "madang").expanduser().resolve()

    @property
    def registration_policy(self) -> Literal["open", "approval", "invite"]:
        """Open on one's own machine, by approval where strangers come (SPEC 9)."""
        if self.registration is not None:
            return self.registration
        return "open" if self.paas_domain == "localhost" else "approval"

    @property
    def engine_url(self) -> str:
        return f"http://127.0.0.1:{self.portal_port}"


def load_settings(env_file: Path | None = Path(".env")) -> Settings:
    """The settings in force. Raises Broken("bad_setting") naming each one at fault and why."""
    try:
        return Settings(_env_file=env_file)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors())
        raise Broken("bad_setting", detail=faults) from None


def port_is_free(host: str, port: int) -> bool:
    """Whether nothing listens there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
