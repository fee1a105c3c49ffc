"""The four error families. What went wrong decides who can mend it; text is chosen later, from the code.

`Refused`: the user can fix it. `Transient`: waiting may fix it. `Broken`: the operator can. Anything else is a bug.
An error carries a stable `code`, safe `params` for its words (never a secret), and for bad input the `field`.
"""

from __future__ import annotations

from typing import Any


class MadangError(Exception):
    """Base of every expected failure. `code` is snake_case and stable; `params` fill the words of that code."""

    default_code = "internal"

    def __init__(self, code: str = "", *, field: str | None = None, **params: Any) -> None:
        self.code = code or self.default_code
        self.field = field
        self.params = params
        super().__init__(self.code)

    def __str__(self) -> str:
        detail = ", ".join(f"{key}={value}" for key, value in self.params.items())
        return f"{self.code} ({detail})" if detail else self.code


class Refused(MadangError):
    """The request cannot be done as asked; the person who asked can change it."""

    default_code = "refused"


class Invalid(Refused):
    """Bad input. `field` names the part at fault."""

    default_code = "invalid"


class Unauthenticated(Refused):
    """No valid credential."""

    default_code = "unauthenticated"


class Forbidden(Refused):
    """Known, but not allowed to do this."""

    default_code = "forbidden"


class NotFound(Refused):
    """No such thing, or not the asker's: another's thing is indistinguishable from none (SPEC 1)."""

    default_code = "not_found"


class Conflict(Refused):
    """The state of things does not allow it."""

    default_code = "conflict"


class OverQuota(Refused):
    """A limit is reached. Params: `used`, `limit`, `requested`."""

    default_code = "over_quota"


class Transient(MadangError):
    """Waiting may fix it; try again after `retry_after_s` seconds."""

    default_code = "temporarily_unavailable"

    def __init__(self, code: str = "", *, retry_after_s: float = 2.0, **params: Any) -> None:
        super().__init__(code, **params)
        self.retry_after_s = retry_after_s


class Broken(MadangError):
    """Something of the installation is out of order; the operator has to look."""

    default_code = "broken"
