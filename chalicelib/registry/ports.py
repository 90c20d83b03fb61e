"""What the registry asks of the world: narrow ports, each with one contract suite that every adapter passes.

``Table`` keeps metadata, ``BlobStore`` keeps bytes, ``Signer`` keeps the root key, ``Clock`` tells the time. The domain
is written against these alone; ``chalicelib/aws`` and ``chalicelib/local`` implement them, ``tests/contracts`` says what
an implementation must do. An adapter translates the failures named here and lets every other one pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import IO, NamedTuple, Protocol, TypeAlias

from chalicelib.registry.names import Digest

# ---------------------------------------------------------------------------------------------------------------- Table

Value: TypeAlias = "str | int | bool | bytes | Sequence[Value] | Mapping[str, Value] | None"
"""What an attribute holds. Floats are left out: the stores disagree about them."""

Attributes: TypeAlias = Mapping[str, Value]

MAX_ITEM = 400_000
"""Bytes of one item at most (DynamoDB takes a little more); larger things lie in the BlobStore."""

MAX_TRANSACTION = 100
"""Actions in one transaction at most. DynamoDB also limits it to 4 MB in all, which the local adapters do not enforce: at
most one action of a transaction may write a large item."""


class Key(NamedTuple):
    """Where an item lies: a partition, and a sort key ordered by its UTF-8 bytes within it."""

    partition: str
    sort: str


@dataclass(frozen=True, slots=True)
class Item:
    """One stored item: its key and its attributes."""

    key: Key
    attributes: Attributes


@dataclass(frozen=True, slots=True)
class Exists:
    """Holds if the item exists."""


@dataclass(frozen=True, slots=True)
class Absent:
    """Holds if there is no such item."""


@dataclass(frozen=True, slots=True)
class Equals:
    """Holds if the item exists and the attribute is there with exactly this value."""

    attribute: str
    value: str | int | bool | bytes


@dataclass(frozen=True, slots=True)
class Lacks:
    """Holds if the item has no such attribute (an item that does not exist lacks every attribute)."""

    attribute: str


@dataclass(frozen=True, slots=True)
class Below:
    """Holds if the item has this attribute, an integer, and it is less than ``bound``."""

    attribute: str
    bound: int


@dataclass(frozen=True, slots=True)
class All:
    """Holds if each of them holds."""

    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Either:
    """Holds if one of them holds."""

    conditions: tuple[Condition, ...]


Condition: TypeAlias = Exists | Absent | Equals | Lacks | Below | All | Either


@dataclass(frozen=True, slots=True)
class Put:
    """Write the whole item, over any earlier one, if the condition holds."""

    key: Key
    attributes: Attributes
    condition: Condition | None = None


@dataclass(frozen=True, slots=True)
class Update:
    """Change an item in place if the condition holds; an absent item comes into being.

    ``set`` replaces attributes, ``add`` adds integers to attributes (absent counts as 0), ``remove`` drops them. The
    three name different attributes.
    """

    key: Key
    set: Attributes = field(default_factory=dict)
    add: Mapping[str, int] = field(default_factory=dict)
    remove: tuple[str, ...] = ()
    condition: Condition | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove the item, if there is one, if the condition holds."""

    key: Key
    condition: Condition | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """Change nothing, but let the transaction fail unless the condition holds."""

    key: Key
    condition: Condition


Write: TypeAlias = Put | Update | Delete | Check


class ConditionFailed(Exception):
    """A condition did not hold; nothing was written. ``failed`` are the indices of the writes whose condition failed."""

    def __init__(self, failed: tuple[int, ...] = (0,)) -> None:
        super().__init__(f"condition failed at {failed}")
        self.failed = failed


class Conflict(Exception):
    """Two transactions met, or the store asks to slow down; nothing was written and the caller may try again."""


EXPIRES = "expires_at"
"""The attribute, seconds since the epoch, after which a store may drop an item by itself. A reader never relies on that:
an item past its time may still come back, and the record's owner treats it as absent."""


@dataclass(frozen=True, slots=True)
class Walked:
    """A stretch of the walk over everything: its items, and the cursor to go on from, None at the end."""

    items: tuple[Item, ...]
    cursor: str | None


class Table(Protocol):
    """An ordered item store with conditional writes. Each call is atomic; a read sees every write answered before it.

    A key, value or update that no item can have (oversized, an empty key, text that is no Unicode) raises ValueError. A read
    may raise Conflict too, where the store asks to slow down.
    """

    def get(self, key: Key) -> Attributes | None:
        """The item's attributes, or None; strongly consistent."""

    def batch_get(self, keys: Sequence[Key]) -> Mapping[Key, Attributes]:
        """Those of the items that exist, any number of keys (an adapter splits), strongly consistent item by item."""

    def write(self, write: Put | Update | Delete) -> None:
        """One conditional write. Raises ConditionFailed, Conflict, StoreFull."""

    def transact(self, writes: Sequence[Write]) -> None:
        """All or none of 1 to 100 writes on different keys. Raises ConditionFailed, Conflict, StoreFull; ValueError
        for an empty list, more than 100, or one key twice."""

    def query(
        self,
        partition: str,
        *,
        prefix: str = "",
        after: str = "",
        limit: int | None = None,
        backward: bool = False,
    ) -> Sequence[Item]:
        """Items of a partition in sort-key order whose sort key begins with ``prefix`` and lies strictly beyond ``after``
        (greater, or less when ``backward``; "" is no bound); at most ``limit`` of them, all when None; strongly consistent."""

    def walk(self, cursor: str | None = None, limit: int = 100) -> Walked:
        """Every item of the table, a stretch at a time, in no promised order; what changes meanwhile may be missed."""


# ------------------------------------------------------------------------------------------------------------ BlobStore


class BlobMissing(Exception):
    """No bytes under that key."""


class WrongOffset(Exception):
    """The bytes do not follow on the staged ones, or those are sealed; nothing was written. ``size`` is what is staged."""

    def __init__(self, size: int) -> None:
        super().__init__(f"staged bytes end at {size}")
        self.size = size


class PartsInvalid(Exception):
    """The parts that were named are not those that were sent, or there is no such multipart upload (any more)."""


class ProofLong(Exception):
    """A proof would take more than whoever asks has time for."""


class StoreFull(Exception):
    """No room for these bytes; what was there before is untouched."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What lies under a key: its size in bytes, and when it was last written."""

    key: str
    size: int
    modified: datetime


@dataclass(frozen=True, slots=True)
class Shown:
    """The headers that a link's response carries: an allow-list, nothing else of the store's is promised."""

    media_type: str = "application/octet-stream"
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Piece:
    """An object that holds a stretch of an upload: its key, and its size in bytes."""

    key: str
    size: int


class BlobStore(Protocol):
    """Objects: bytes under keys that are never reused. Once an object is there it never changes until it is deleted.

    An adapter refuses a key that ``keys.checked_key`` refuses, with its ValueError.
    """

    def put(self, key: str, content: bytes) -> None:
        """Write a small object whole and durably. Writing the same bytes again is harmless. Raises StoreFull."""

    def check(self, key: str, digest: Digest, *, limit: int | None = None) -> int | None:
        """The object's size if its bytes hash to ``digest``, else None, by the cheapest proof that holds: what the store itself
        hashed when the bytes came, what it hashes now, or reading them. Raises BlobMissing, and ProofLong if that were
        more than ``limit`` bytes to hash."""

    def assemble(self, pieces: Sequence[Piece], key: str, digest: Digest) -> int | None:
        """Make one durable object under ``key`` of the pieces, in order, if together they hash to ``digest``: its size. If they
        do not, None, and nothing lies under ``key``. The pieces stay, for the caller to delete. Raises BlobMissing if one is
        not there or not of its size, StoreFull."""

    def stat(self, key: str) -> Stored | None:
        """What lies under the key, or None."""

    def open(self, key: str, start: int = 0, end: int | None = None) -> IO[bytes]:
        """A stream of the bytes from ``start`` up to, not including, ``end`` (None: to the last). Raises BlobMissing."""

    def list(self, prefix: str, after: str = "") -> Iterator[Stored]:
        """The objects whose keys begin with ``prefix`` and sort after ``after``, in key order, without holding all of them in
        memory; ``after`` is any text that may begin a key."""

    def link(self, key: str, method: str, shown: Shown) -> str:
        """A URL, absolute or a path on the registry's own host, that answers ``method`` ("GET" or "HEAD") with the bytes
        for some minutes, Range honoured, to whoever holds it. It does not look whether the key exists."""

    def delete(self, key: str) -> None:
        """Remove the key, and what is staged under it; nothing happens if it is not there."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """An object that was staged: its size in bytes, and the SHA-256 of its bytes in hex."""

    size: int
    sha256: str


class Staging(Protocol):
    """Objects that grow, for a server beside the store that streams a request's body into it (one machine).

    What is staged is no object yet: nothing of BlobStore but ``delete`` knows it. If making bytes durable fails (a full or
    broken disk), staged bytes may be gone: what the store cannot promise it does not keep.
    """

    def append(self, key: str, offset: int, content: bytes) -> int:
        """Add bytes to what is staged under ``key`` (absent counts as empty) at ``offset``; the new size. Staged bytes beyond
        ``offset`` are cut off. Raises WrongOffset if fewer bytes than ``offset`` are staged or the key is sealed; StoreFull."""

    def seal(self, key: str) -> Sealed:
        """Make what is staged a durable object; after this a crash loses nothing and no append is taken. Sealing again is
        harmless. Raises BlobMissing if nothing was staged, StoreFull."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a multipart upload as the store has it: its number from 1, its ETag, its size in bytes."""

    number: int
    etag: str
    size: int


class Multipart(Protocol):
    """Objects that are sent to the store in parts by somebody who has no credentials but signed URLs (S3).

    The object is not there before ``complete``. Parts but the last have 5 MiB at least, and there are 10,000 at most.
    """

    def begin(self, key: str) -> str:
        """Begin a multipart upload of ``key``: its id."""

    def part_urls(self, key: str, upload: str, first: int, count: int) -> Sequence[str]:
        """URLs, good for an hour or as long as the credentials, that each take one part by PUT: numbers ``first`` and on."""

    def parts(self, key: str, upload: str) -> Sequence[Part]:
        """The parts that have arrived, in order. Raises PartsInvalid if there is no such upload."""

    def complete(self, key: str, upload: str, parts: Sequence[Part]) -> None:
        """Make the object of these parts. Doing so again is harmless. Raises PartsInvalid if one is not as said, and nothing
        was made; StoreFull."""

    def abort(self, key: str, upload: str) -> None:
        """Give the upload up and drop its parts; nothing happens if there is none."""

    def unfinished(self, prefix: str) -> Iterator[tuple[str, str, datetime]]:
        """The uploads under way of keys that begin with ``prefix``: key, id, and when they were begun."""


# ----------------------------------------------------------------------------------------------------------- Background


class Background(Protocol):
    """Starts work that outlives the request that asks for it."""

    def prove(self, upload: str, digest: str) -> None:
        """Have ``Proofs.work`` run for this upload somewhere, soon; perhaps twice."""


# --------------------------------------------------------------------------------------------------------------- Signer


class Signer(Protocol):
    """The root key: an ECDSA P-256 private key that never leaves its store, and a secret to wrap others with."""

    def public_key(self) -> bytes:
        """The public key, DER SubjectPublicKeyInfo."""

    def sign(self, message: bytes) -> bytes:
        """An ECDSA signature over SHA-256 of ``message``, DER-encoded."""

    def wrap(self, secret: bytes, context: str) -> bytes:
        """``secret`` (up to 4,096 bytes) encrypted and authenticated, bound to ``context``."""

    def unwrap(self, wrapped: bytes, context: str) -> bytes:
        """The secret again. Raises ValueError if it was not wrapped here under this context, or was altered."""


# ---------------------------------------------------------------------------------------------------------------- Clock


class Clock(Protocol):
    """The time. It orders nothing and decides no safety: only delays and expiries."""

    def now(self) -> datetime:
        """The present moment in UTC, aware."""

    def sleep(self, seconds: float) -> None:
        """Let so much time pass."""


# ------------------------------------------------------------------------------------------------------------------ Web


class WebFailure(Exception):
    """There is no answer: the address is not one to ask, or nobody answered in time and within bounds. The message is for the
    operator's eyes: it tells how names resolve here."""


@dataclass(frozen=True, slots=True)
class WebAnswer:
    """The status of an HTTP answer that is no redirect, and its body."""

    status: int
    body: bytes


_NO_HEADERS: Mapping[str, str] = {}


class Web(Protocol):
    """Asks servers whose addresses other people choose, and so none that are not everybody's to ask."""

    def fetch(self, url: str, *, method: str = "GET", headers: Mapping[str, str] = _NO_HEADERS, body: bytes = b"") -> WebAnswer:
        """One request to an https URL on the public internet, bounded in time and size, following no redirect. Host,
        Connection and the like are the adapter's. Raises WebFailure."""
