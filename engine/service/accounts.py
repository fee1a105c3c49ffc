"""Accounts: who somebody is, and how they prove it."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from datetime import timedelta

from engine import metrics
from engine.domain import (
    PASSWORD_MAX_BYTES,
    Account,
    Actor,
    Role,
    new_id,
    valid_email,
    valid_handle,
    valid_password,
)
from engine.errors import Broken, Forbidden, Invalid, NotFound, Unauthenticated
from engine.ports import Clock
from engine.service.keys import Passwords, Tokens, token_hash
from engine.settings import Settings
from engine.store import accounts
from engine.store.database import Database


@dataclass(frozen=True, slots=True)
class LogIn:
    """A proven account with what it may show from now on: a bearer `token`, and a `session` for a cookie."""

    account: Account
    token: str
    session: str


class AccountService:
    def __init__(
        self, settings: Settings, database: Database, clock: Clock, passwords: Passwords, tokens: Tokens
    ) -> None:
        self._settings = settings
        self._database = database
        self._clock = clock
        self._passwords = passwords
        self._tokens = tokens

    async def ensure_admin(self) -> str | None:
        """Makes the account `admin` at the very first start, and returns its password then; None at later ones."""
        async with self._database.read() as tx:
            if await accounts.by_userid(tx, "admin"):
                return None
        given = self._settings.admin_password
        password = given.get_secret_value() if given else secrets.token_urlsafe(12)
        if len(password.encode()) > PASSWORD_MAX_BYTES:
            raise Broken(
                "bad_setting", detail=f"ADMIN_PASSWORD: at most {PASSWORD_MAX_BYTES} bytes are taken"
            )
        account = Account(
            id=new_id(),
            userid="admin",
            role=Role.ADMIN,
            created_at=self._clock.now(),
            password_hash=await self._passwords.hash(password),
            must_change_password=True,
        )
        async with self._database.write() as tx:
            await accounts.insert(tx, account)
        return password

    async def reset_admin(self) -> str:
        """A new one-time password for `admin`, for who has lost theirs and sits at the machine. Ends all its log-ins.
        Raises NotFound before the very first start."""
        password = secrets.token_urlsafe(12)
        hashed = await self._passwords.hash(password)
        async with self._database.write() as tx:
            account = await accounts.by_userid(tx, "admin")
            if account is None:
                raise NotFound("not_found")
            await accounts.set_password(tx, account.id, hashed, must_change=True)
            await accounts.record(
                tx, self._clock.now(), account.id, "system", "account.reset", account.userid, "done"
            )
        return password

    async def register(self, *, email: str, password: str, username: str, via: str) -> Account:
        """A new account, or Invalid / Conflict naming the field. Under the policy `approval` it has to wait."""
        self._check_policy()
        account = self._new(valid_handle(username))
        valid_password(password)
        account = replace(
            account, email=valid_email(email), password_hash=await self._passwords.hash(password)
        )
        return await self._add(account, via)

    async def sign_up_in_chat(self, *, username: str, locale: str, via: str) -> Account:
        """A new account for somebody who chats: no address, no password; the chat identity is the proof."""
        self._check_policy()
        return await self._add(replace(self._new(valid_handle(username)), locale=locale), via)

    def _check_policy(self) -> None:
        if self._settings.registration_policy == "invite":
            raise Forbidden("registration_closed")

    def _new(self, username: str) -> Account:
        approved = self._settings.registration_policy == "open"
        return Account(
            id=new_id(), userid=username, role=Role.USER, created_at=self._clock.now(), approved=approved
        )

    async def _add(self, account: Account, via: str) -> Account:
        async with self._database.write() as tx:
            await accounts.insert(tx, account)
            await accounts.record(
                tx, account.created_at, account.id, via, "account.register", account.userid, "done"
            )
            metrics.USERS.set(await accounts.count(tx))
        return account

    async def log_in(self, *, identifier: str, password: str, via: str) -> LogIn:
        """`identifier` is a handle or an email address. Raises Unauthenticated("bad_credentials") whatever was wrong."""
        async with self._database.read() as tx:
            find = accounts.by_email if "@" in identifier else accounts.by_userid
            account = await find(tx, identifier)
        right = await self._passwords.verify(password, account.password_hash if account else None)
        now = self._clock.now()
        if account is None or not right:
            metrics.LOGINS.labels("refused").inc()
            async with self._database.write() as tx:
                # What was typed is not kept: it may have been a password in the wrong field.
                who, name = (account.id, account.userid) if account else (None, "unknown")
                await accounts.record(tx, now, who, via, "account.log-in", name, "bad_credentials")
            raise Unauthenticated("bad_credentials")
        if not account.approved:
            metrics.LOGINS.labels("waiting").inc()
            raise Forbidden("account_waiting")
        session = secrets.token_urlsafe(32)
        until = now + timedelta(hours=self._settings.session_ttl_hours)
        async with self._database.write() as tx:
            still = await accounts.by_id(tx, account.id)
            if still is None or still.token_version != account.token_version:
                raise Unauthenticated(
                    "bad_credentials"
                )  # the password was changed while it was being checked
            await accounts.insert_session(tx, token_hash(session), account.id, now, until)
            await accounts.record(tx, now, account.id, via, "account.log-in", account.userid, "done")
        metrics.LOGINS.labels("done").inc()
        return LogIn(account, self._tokens.issue(account, now), session)

    async def by_session(self, session: str) -> Account | None:
        async with self._database.read() as tx:
            return await accounts.by_session(tx, token_hash(session), self._clock.now())

    async def by_token(self, token: str) -> Account:
        """Raises Unauthenticated("bad_token")."""
        claims = self._tokens.read(token, self._clock.now())
        if claims is not None:
            account_id, version = claims
            async with self._database.read() as tx:
                account = await accounts.by_id(tx, account_id)
            if account is not None and account.token_version == version:
                return account
        raise Unauthenticated("bad_token")

    async def by_id(self, account_id: str) -> Account | None:
        async with self._database.read() as tx:
            return await accounts.by_id(tx, account_id)

    async def log_out(self, session: str) -> None:
        async with self._database.write() as tx:
            await accounts.delete_session(tx, token_hash(session))

    async def change_password(self, actor: Actor, *, current: str, new: str) -> LogIn:
        """Sets a new password, ends all that the old one opened, and logs in anew."""
        if not await self._passwords.verify(current, actor.account.password_hash):
            raise Invalid("wrong_password", field="currentPassword")
        valid_password(new, field_name="newPassword")
        if new == current:
            raise Invalid("same_password", field="newPassword")
        hashed = await self._passwords.hash(new)
        now = self._clock.now()
        async with self._database.write() as tx:
            await accounts.set_password(tx, actor.account.id, hashed)
            await accounts.record(
                tx, now, actor.account.id, actor.via, "account.password", actor.account.userid, "done"
            )
        return await self.log_in(identifier=actor.account.userid, password=new, via=actor.via)

    async def set_locale(self, account: Account, locale: str) -> Account:
        """The language that the person's new things speak at first."""
        async with self._database.write() as tx:
            await accounts.set_locale(tx, account.id, locale)
        return replace(account, locale=locale)

    async def approve(self, actor: Actor, userid: str) -> None:
        """Lets somebody in who waited for it. Admins only."""
        check_usable(actor.account)
        if not actor.is_admin:
            raise Forbidden("forbidden")
        async with self._database.write() as tx:
            if not await accounts.approve(tx, userid):
                raise NotFound("not_found")
            await accounts.record(
                tx, self._clock.now(), actor.account.id, actor.via, "account.approve", userid, "done"
            )


def check_usable(account: Account) -> None:
    """Raises what stands between this account and doing anything (SPEC 1)."""
    if not account.approved:
        raise Forbidden("account_waiting")
    if account.must_change_password:
        raise Forbidden("password_change_required")
