"""The part of the domain that the management API is for."""

from __future__ import annotations

from dataclasses import dataclass

from chalicelib.registry.access_tokens import AccessTokens
from chalicelib.registry.accounts import Accounts
from chalicelib.registry.configuration import Configuration
from chalicelib.registry.creations import Creations
from chalicelib.registry.credentials import Credentials
from chalicelib.registry.events import Events
from chalicelib.registry.federation import TrustRules
from chalicelib.registry.organizations import Organizations
from chalicelib.registry.refresh_tokens import RefreshTokens
from chalicelib.registry.repositories import Repositories
from chalicelib.registry.rights import Rights
from chalicelib.registry.teams import Teams
from chalicelib.registry.trash import Trash
from chalicelib.registry.upkeep.crons import Crons
from chalicelib.registry.upkeep.jobs import Jobs
from chalicelib.registry.upkeep.storage import Storage


@dataclass(frozen=True, slots=True)
class Management:
    """Everything that endpoints of the management API work with."""

    credentials: Credentials
    access_tokens: AccessTokens
    refresh_tokens: RefreshTokens
    accounts: Accounts
    organizations: Organizations
    teams: Teams
    repositories: Repositories
    creations: Creations
    rights: Rights
    events: Events
    configuration: Configuration
    trust: TrustRules
    jobs: Jobs
    crons: Crons
    trash: Trash
    storage: Storage
