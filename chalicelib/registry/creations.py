"""Making repositories: by name beforehand, or by the first push to one."""

from __future__ import annotations

from collections.abc import Sequence

from chalicelib.registry import access
from chalicelib.registry.access import PUSH, REPOSITORY, Operation
from chalicelib.registry.configuration import Configuration
from chalicelib.registry.errors import Denied
from chalicelib.registry.events import Actor, Event, Events
from chalicelib.registry.names import RepositoryName
from chalicelib.registry.ports import Write
from chalicelib.registry.repositories import Description, Repositories, Repository
from chalicelib.registry.rights import Rights

CREATED = "REPOSITORY_CREATE"


class Creations:
    """Makes repositories for whoever may, and records it in the same transaction."""

    def __init__(self, repositories: Repositories, rights: Rights, configuration: Configuration, events: Events) -> None:
        self._repositories = repositories
        self._rights = rights
        self._configuration = configuration
        self._events = events

    def create(self, name: RepositoryName, description: Description, actor: Actor) -> Repository:
        """A new repository in an account's namespace; that the actor may has been decided. Raises RepositoryExists, NameUnknown
        if the account is gone or being deleted, Busy."""
        created = Event(CREATED, str(name), actor)

        def recorded(identity: str) -> Sequence[Write]:
            return self._events.writes(created, identity)

        return self._repositories.create(name, description, recorded, owned=True)

    def ensure(self, name: RepositoryName, account: access.Account | None, actor: Actor) -> Repository:
        """The repository to push to, as it was at most some seconds ago; made now if there is none and the account may.

        That pushes make repositories at all is a condition of the transaction. Raises Denied, NameUnknown, Busy.
        """
        found = self._repositories.find_recent(name)
        if found is not None:
            return found
        verdict = self._rights.decide(account, Operation.CREATE, name)
        if not verdict.allowed:
            raise Denied(action=PUSH, type=REPOSITORY, name=str(name), reason=verdict.reason)
        created, condition = Event(CREATED, str(name), actor, detail={"by": "push"}), self._configuration.pushes_create()

        def recorded(identity: str) -> Sequence[Write]:
            return [condition, *self._events.writes(created, identity)]

        # What allows somebody else to create hangs on an account, which may have come to its end since that was decided.
        return self._repositories.make(name, recorded, owned=account is None or not account.is_admin)
