"""One token service as an instance of the program sees it, on a table, a signer and a clock that instances share."""

from __future__ import annotations

from dataclasses import dataclass, field

from chalicelib.aws.sts import SignedCallerIdentities
from chalicelib.crypto.keyring import KeyRing
from chalicelib.crypto.oidc import OidcTokens
from chalicelib.registry.access_tokens import AccessTokens
from chalicelib.registry.accounts import Accounts
from chalicelib.registry.configuration import Choices, Configuration
from chalicelib.registry.credentials import Credentials
from chalicelib.registry.events import Events
from chalicelib.registry.federation import Federation, TrustRules
from chalicelib.registry.ports import Signer, Table
from chalicelib.registry.refresh_tokens import RefreshTokens
from chalicelib.registry.throttle import Throttle
from chalicelib.registry.tokens import Tokens
from tests.frozen_clock import FrozenClock
from tests.memory_signer import MemorySigner
from tests.memory_table import MemoryTable
from tests.memory_web import MemoryWeb
from tests.plain_hasher import PlainHasher

ISSUER, SERVICE = "https://registry.test", "registry.test"


class EverybodyStays:
    """No account is ever deleted or locked."""

    def still_active(self, name: str, issued_at: int, identity: str) -> bool:
        return True


@dataclass
class Instance:
    """Its parts, made as wiring makes them; ``another`` shares what instances share and remembers nothing."""

    table: Table = field(default_factory=MemoryTable)
    signer: Signer = field(default_factory=MemorySigner)
    clock: FrozenClock = field(default_factory=FrozenClock)
    hasher: PlainHasher = field(default_factory=PlainHasher)
    issuer: str = ISSUER
    service: str = SERVICE

    def __post_init__(self) -> None:
        self.accounts = Accounts(self.table, self.hasher, self.clock)
        self.access_tokens = AccessTokens(self.table, self.accounts, self.clock)
        self.credentials = Credentials(self.accounts, self.access_tokens, Throttle(self.table, self.clock))
        self.ring = KeyRing(self.table, self.signer, self.clock)
        self.tokens = Tokens(
            issuer=self.issuer,
            service=self.service,
            signer=self.ring,
            verifier=self.ring,
            keys=self.ring,
            accounts=EverybodyStays(),
            clock=self.clock,
        )
        self.refresh_tokens = RefreshTokens(self.table, self.accounts, self.clock, self.service)

        choices = Choices(create_repository_on_push=False)
        self.events = Events(self.table, self.clock, Configuration(self.table, self.clock, choices))

    def federation(self) -> Federation:
        """Nobody is trusted unless a rule says so, and nobody can be asked."""
        web = MemoryWeb()
        providers = OidcTokens(web, self.clock), SignedCallerIdentities(web, self.clock)
        return Federation(TrustRules(self.table, self.clock), *providers, service=self.service, public_url=self.issuer)

    def another(self, *, issuer: str = ISSUER, service: str = SERVICE) -> Instance:
        return Instance(self.table, self.signer, self.clock, self.hasher, issuer, service)
