"""What can go wrong, in the field's words. The doors translate: HTTP status and code are theirs (``wire/.../errors.py``)."""

from __future__ import annotations

from collections.abc import Mapping


class RegistryError(Exception):
    """A refusal that the caller is told about: a sentence for people, and a detail for programs."""

    message = "the request was refused"

    def __init__(self, message: str = "", **detail: object) -> None:
        super().__init__(message or self.message)
        self.detail: Mapping[str, object] = detail


class NameInvalid(RegistryError):
    message = "the repository name is not valid"

    def __init__(self, name: str) -> None:
        super().__init__(name=name[:300])


class AccountNameInvalid(RegistryError):
    message = "the name is not valid: letters, digits and single '.', '_' or '-' between them, at most 64 characters"

    def __init__(self, name: str) -> None:
        super().__init__(name=name[:200])


class NameReserved(RegistryError):
    message = "the name is reserved"

    def __init__(self, name: str) -> None:
        super().__init__(name=name)


class AccountUnknown(RegistryError):
    message = "no such account"

    def __init__(self, name: str) -> None:
        super().__init__(name=name[:200])


class AccountExists(RegistryError):
    message = "there is an account of this name"

    def __init__(self, name: str) -> None:
        super().__init__(name=name)


class AccountInUse(RegistryError):
    """An account whose namespace still holds repositories."""

    message = "the account's namespace still holds repositories; delete or move those first"

    def __init__(self, name: str) -> None:
        super().__init__(name=name)


class LastAdmin(RegistryError):
    message = "this is the last active administrator: make another one first"


class TeamUnknown(RegistryError):
    message = "no such team"

    def __init__(self, name: str) -> None:
        super().__init__(name=name[:200])


class TeamExists(RegistryError):
    message = "the organization has a team of this name"

    def __init__(self, name: str) -> None:
        super().__init__(name=name)


class MemberUnknown(RegistryError):
    message = "no such member of the organization, or of the team"

    def __init__(self, name: str) -> None:
        super().__init__(name=name[:200])


class RepositoryExists(RegistryError):
    message = "there is a repository of this name"

    def __init__(self, name: str) -> None:
        super().__init__(name=name)


class TokenUnknown(RegistryError):
    message = "no such access token"


class RuleUnknown(RegistryError):
    message = "no such trust rule"


class VersionMismatch(RegistryError):
    """What If-Match names is not what is there."""

    message = "it has been changed since it was read: read it again"


class TooMany(RegistryError):
    """More of a kind than one owner may have; ``most`` is the bound."""

    message = "there are too many of these already"

    def __init__(self, most: int) -> None:
        super().__init__(most=most)


class TooManyAttempts(RegistryError):
    """Wrong passwords; ``retry_after`` is how many seconds to wait before the next try."""

    message = "too many wrong passwords: wait before the next try"

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"{self.message}: {retry_after} s", retry_after=retry_after)
        self.retry_after = retry_after


class TagInvalid(RegistryError):
    message = "the tag is not valid: letters, digits, '_', '.', '-', at most 128, and the first a letter, digit or '_'"

    def __init__(self, tag: str) -> None:
        super().__init__(tag=tag[:200])


class DigestInvalid(RegistryError):
    message = "the digest is not valid: sha256 or sha512, a colon, and the hash in lower-case hex"

    def __init__(self, digest: str) -> None:
        super().__init__(digest=digest[:200])


class DigestMismatch(RegistryError):
    """The content does not hash to the digest that was announced for it."""

    message = "the content does not match the digest"


class NameUnknown(RegistryError):
    message = "no such repository"

    def __init__(self, name: str, message: str = "") -> None:
        super().__init__(message, name=name)


class BlobUnknown(RegistryError):
    message = "no such blob in this repository"

    def __init__(self, digest: str) -> None:
        super().__init__(digest=digest)


class BlobReferenced(RegistryError):
    message = "a manifest of this repository still needs this blob; delete that manifest first"

    def __init__(self, digest: str, manifest: str) -> None:
        super().__init__(digest=digest, manifest=manifest)


class NotRestorable(RegistryError):
    message = "nothing of that name was removed, or it was too long ago; a tag that went with its image is restored with that"

    def __init__(self, reference: str) -> None:
        super().__init__(reference=reference)


class ContentGone(RegistryError):
    """What is to be restored needs what was deleted after it; ``digests`` are all of that, in order."""

    message = "what it needs was deleted, too: restore or push that first"

    def __init__(self, digests: tuple[str, ...]) -> None:
        named = ", ".join(digests[:3]) + (f" and {len(digests) - 3} more" if len(digests) > 3 else "")
        super().__init__(f"{self.message}: {named}", digests=list(digests))
        self.digests = digests


class TagExists(RegistryError):
    message = "there is a tag of this name; delete it first, or restore the manifest by its digest"

    def __init__(self, tag: str) -> None:
        super().__init__(tag=tag)


class ManifestUnknown(RegistryError):
    message = "no such manifest in this repository"

    def __init__(self, reference: str, message: str = "") -> None:
        super().__init__(message, reference=reference)


class ManifestReferenced(RegistryError):
    message = "an index of this repository still needs this manifest; delete that index first"

    def __init__(self, digest: str, index: str) -> None:
        super().__init__(digest=digest, index=index)


class ManifestInvalid(RegistryError):
    message = "the manifest is not valid"


class ManifestTooLarge(RegistryError):
    message = "the manifest is larger than the 4 MiB that a manifest may have"


class ManifestBlobUnknown(RegistryError):
    """Descriptors of a manifest that the repository does not hold; ``digests`` are all of them, in order."""

    message = "the manifest needs content that this repository does not hold"

    def __init__(self, digests: tuple[str, ...]) -> None:
        super().__init__(digests=list(digests))
        self.digests = digests


class UploadUnknown(RegistryError):
    """Also the answer for an upload of another repository or user: its existence is nobody else's business."""

    message = "no such upload: it was never begun here, was finished or cancelled, or has expired"


class UploadInvalid(RegistryError):
    message = "the upload request is not valid"


class RangeInvalid(RegistryError):
    """A chunk that does not start where the staged bytes end, which is at ``size``."""

    message = "the chunk does not follow on the bytes received so far"

    def __init__(self, size: int, message: str = "") -> None:
        super().__init__(message, received=size)
        self.size = size


class SizeInvalid(RegistryError):
    message = "the length of the content is not the announced one"


class PaginationInvalid(RegistryError):
    message = "n must be a whole number, 0 or more"


class Unauthenticated(RegistryError):
    """Who calls is unknown: no credentials, or wrong, forged or expired ones."""

    message = "authentication is required"


class Denied(RegistryError):
    """Who calls is known, and may not do this. A ``reason`` stands in the sentence too: docker shows nothing else."""

    message = "access to the resource is denied"

    def __init__(self, message: str = "", **detail: object) -> None:
        told = [message or self.message, *([str(detail["reason"])] if "reason" in detail else [])]
        super().__init__(": ".join(told), **detail)


class Unsupported(RegistryError):
    """A method that the resource does not have; ``allowed`` are those it has."""

    message = "the operation is not supported"

    def __init__(self, allowed: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.allowed = allowed


class EndpointUnknown(RegistryError):
    message = "no such endpoint"


class RequestInvalid(RegistryError):
    message = "the request is not valid"


class ParameterInvalid(RegistryError):
    """A query parameter or a header that does not hold what it is for; ``parameter`` names it."""

    def __init__(self, message: str, parameter: str) -> None:
        super().__init__(message, parameter=parameter)


class MediaTypeInvalid(RegistryError):
    message = "the body must be JSON: send Content-Type: application/json"


class TooManyTags(RegistryError):
    message = "too many tags in one request"

    def __init__(self, most: int) -> None:
        super().__init__(most=most)


class ContentTooLarge(RegistryError):
    message = "the body is larger than this endpoint takes"


class Busy(RegistryError):
    """Too many at once on the same thing; try again after ``retry_after`` seconds."""

    message = "the registry is busy with other requests for the same thing; try again"
    retry_after = 1


class Unproven(RegistryError):
    """The bytes are here, but whether they are the right ones is not known yet; ask again after ``retry_after`` seconds."""

    message = "the content has arrived and is still being verified; try again"
    retry_after = 2


class OutOfSpace(RegistryError):
    """The registry has no room for the content; pulls go on."""

    message = "the registry has no room left for this content"


class JobKindUnknown(RegistryError):
    message = "no such kind of job"

    def __init__(self, kind: str) -> None:
        super().__init__(kind=kind[:200])


class JobParametersInvalid(RegistryError):
    """What a job is asked to do, or how often and how long to try, is not something that its kind takes."""

    def __init__(self, message: str, parameter: str) -> None:
        super().__init__(message, parameter=parameter[:200])


class JobUnknown(RegistryError):
    message = "no such job"

    def __init__(self, job: str) -> None:
        super().__init__(job=job[:200])


class JobUnderWay(RegistryError):
    def __init__(self, kind: str, job: str) -> None:
        message = f"the job {job} has not ended, and no two of a kind run at once; wait for it, or cancel it"
        super().__init__(message, kind=kind, job=job)


class JobEnded(RegistryError):
    message = "the job has ended already"

    def __init__(self, job: str, status: str) -> None:
        super().__init__(job=job, status=status)


class ScheduleInvalid(RegistryError):
    message = (
        "the schedule is not valid: six fields (second minute hour day month weekday), or @hourly, @daily, @weekly, @monthly"
    )

    def __init__(self, schedule: str, message: str = "") -> None:
        super().__init__(message, schedule=schedule[:200])
