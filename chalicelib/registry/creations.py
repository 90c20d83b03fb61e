"""Making repositories: by name beforehand, or by the first push to one."""

from __future__ import annotations

from chalicelib.registry import access
from chalicelib.registry.access import PUSH, REPOSITORY, Operation
from chalicelib.registry.configuration import Configuration
from chalicelib.registry.errors import Denied
from chalicelib.registry.events import Actor, Event, Events
from chalicelib.registry.names import RepositoryName
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
        """A new repository; that the actor may has been decided. Raises RepositoryExists, NameUnknown if its namespace is being
        deleted, Busy."""
        created = Event(CREATED, str(name), actor)
        return self._repositories.create(name, description, lambda identity: self._events.writes(created, identity))

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
        return self._repositories.make(name, lambda identity: [condition, *self._events.writes(created, identity)])
