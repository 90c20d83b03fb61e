"""Who calls: ``/api/v0/whoami``."""

from __future__ import annotations

from msgspec import Struct

from chalicelib.wire.management.accounts import KindWord
from chalicelib.wire.management.call import Answer, Call


class Narrowing(Struct, frozen=True, rename="camel"):
    """What an access token is narrowed to: repositories (``acme/*`` is all of a namespace) and actions (pull, push, delete)."""

    repositories: list[str]
    actions: list[str]


class Whoami(Struct, frozen=True, rename="camel"):
    """The caller's account, and what the access token in use is narrowed to."""

    name: str
    kind: KindWord
    is_admin: bool
    narrowed: Narrowing | None


def who_am_i(call: Call) -> Answer:
    caller = call.signed_in
    kind = call.services.accounts.get(caller.name).kind
    limits = caller.limits
    narrowed = None if limits is None else Narrowing(list(limits.repositories), sorted(limits.actions))
    return Answer(Whoami(caller.name, kind.value, caller.is_admin, narrowed))
