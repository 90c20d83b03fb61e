"""Where everything lies in the table, drawn once.

``partition`` / ``sort``; indented lines are items. Whatever is listed is an index item written in the same transaction as
what it lists, so a list never lags. A repository's contents hang on its id, never on its name: a name may be given to
another repository later, an id never.

::

    name/<repository name>
        repository                                  id, visibility, short_description, long_description, created_at, version
    catalog, public
        <repository name>                           (index) all repositories, and the public ones, in order
    repository/<repository id>
        repository                                  name: whose id this is
        blob/<digest>                               link: key, size, referenced?, condemned_at?; revision. A pull reads it
        manifest/<digest>                           media_type, size, subject?, pending?, begun_at?, condemned_at?; revision
        content/<digest>                            the manifest's exact bytes, or the store's key of a large one
        tag/<tag>                                   digest, media_type, size, pushed_at
        tagged/<digest>/<tag>                       (index) the tags of a manifest
        needed/blob/<digest>/<manifest>             (index) which manifests need a blob
        needed/manifest/<digest>/<index>            (index) which indexes need a manifest
        referrer/<subject digest>/<manifest>        (index) its descriptor, unless that is large
        removed/manifest/<digest>                   media_type, size, subject?, tags, content or key, removed_at, ... trash.py
        removed/tag/<tag>/<removed at>              digest, removed_by, along?; revision
        grant/<team id>                             level, team: what a team may do here
        event/<time>/<random>                       (index) an event that concerns it. events.py
    removed
        <removed at>/<repository id>                name, cleared_at?: repositories whose contents wait to be cleared away
    blob/<digest>
        blob                                        key, size, condemned_at?, damaged_at?; revision: the proven bytes of this
                                                    content address
        link/<repository id>                        (index) the repositories that hold it, with their names
    condemned
        <condemned at>/link/<repository id>/<digest>      (index) what nothing needed as of then, oldest first. condemned.py
        <condemned at>/blob/<digest>                      (index)
        <condemned at>/manifest/<repository id>/<digest>  (index)
    untagged
        <condemned at>/<repository id>/<digest>     (index) manifests that nothing needed for longer than the grace
    restorable
        <removed at>/<repository id>/manifest/<digest>    (index) what was removed and may be restored, oldest first
        <removed at>/<repository id>/tag/<tag>            (index)
    retired
        <store key>                                 an object that no record names any more, to be deleted
    objects
        <store key>                                 digest: whose bytes the object was when the last audit came by. audit.py
    upload/<upload id>
        upload                                      uploads.py. An upload that nothing was written to has none
        direct/<digest>                             what became of its object of the direct lane: key or swept. adoption.py
    pending
        <begun at>/<repository id>/<digest>         (index) pushes of large manifests that are under way, oldest first
    unfinished
        <begun at>/<upload id>                      (index) uploads that are not finished, oldest first
    account/<name>
        account                                     id, kind, is_admin, is_active, password_hash?, ...; version. accounts.py
    accounts, admins
        <name>                                      (index) all accounts, and the administrators, in order
    user/<account id>
        in/<organization id>                        organization, is_admin: a user's membership
        in/<organization id>/<team id>              organization, team: a user's or a robot's place in a team
        token/<token id>                            (index) hash: an access token of the account
        tokens                                      revision: how often one was added
    organization/<account id>
        member/<user>                               (index) id, is_admin, is_public
        robot/<robot>                               (index)
        team/<team>                                 id, description, created_at, deleting?; version
        grant/<team id>                             level, team: what a team may do in the whole namespace
    robot/<account id>
        trust, trust/<rule>                         whose proofs a robot is known by. federation.py
    team/<team id>
        member/<login>                              (index) id
        repository/<repository name>                (index) id, level: what the team was granted
    storage
        numbers                                     what the last audit counted. storage.py
    store
        mark                                        word: whose store it is. pairing.py
    scrub
        position                                    how far stored blobs were read again. scrub.py
    configuration
        settings                                    configuration.py
    events/<year>-<month>
        <time>/<random>                             events.py
    token/<hash>
        token                                       account, account_id, id, label, is_active, ...; version. access_tokens.py
    refresh/<hash>
        refresh                                     family, account, account_id, used_at?, ... refresh_tokens.py
    family/<family id>
        family                                      there as long as the refresh tokens of one sign-in are good
    attempts/<hash of a name>
        all                                         until, last: wrong passwords for the name. throttle.py
        from/<address>                              until?, last?, good_until?: those from one address, and a right one
    attempts/from/<address>
        all                                         until, last: wrong passwords from one address, for any name
    keys/<root key's thumbprint>                    crypto/keyring.py
    job/<job id>
        job                                         kind, status, parameters, counts, cursor, lines, ... jobs.py
        log/<offset>                                lines: a stretch of its log that begins there
    jobs
        <job id>                                    (index) all jobs; an id begins with its time
    open
        <kind>                                      (index) job, due_at, holder?, until?: the one job of the kind that has not
                                                    ended, and the lease of who runs it; revision
    crons
        <kind>                                      next_at, timed_by, schedule?, parameters?, ...; version. crons.py

``revision`` is another one, never used before, after each change that somebody's decision may rest on. Who takes an item
away does so on the condition that the revision is the one at which nothing depended on it; who comes to depend on it
changes the revision in the same transaction. ``condemned_at`` (seconds since the epoch): nothing needed the item as of then.
"""

from __future__ import annotations

import secrets

from chalicelib.registry.names import Digest, RepositoryName, Tag
from chalicelib.registry.ports import All, Attributes, Condition, Equals, Exists, Key, Lacks

CATALOG_PARTITION = "catalog"
PUBLIC_PARTITION = "public"
REMOVED_PARTITION = "removed"
ACCOUNTS_PARTITION = "accounts"
ADMINS_PARTITION = "admins"
UNFINISHED_PARTITION = "unfinished"
PENDING_PARTITION = "pending"
CONDEMNED_PARTITION = "condemned"
UNTAGGED_PARTITION = "untagged"
RESTORABLE_PARTITION = "restorable"
RETIRED_PARTITION = "retired"
JOBS_PARTITION = "jobs"
OPEN_PARTITION = "open"
CRONS_PARTITION = "crons"
OBJECTS_PARTITION = "objects"
REVISION = "revision"
CONDEMNED_AT = "condemned_at"
VERSION = "version"
DELETING = "deleting"
"""On an account or a team that is being deleted: nothing is added to it any more."""
ENDING = "ending"
"""On an account whose deletion is not taken back any more: what it has is being given up."""
WAS_ACTIVE = "was_active"
"""On an account that is being deleted: whether it was active before, for as long as that may be taken back."""
REFERENCED = "referenced"
ALONG = "along"
"""On a tag that was removed: it went because its manifest was deleted, which had more tags than go in one transaction."""


def repository_key(name: RepositoryName) -> Key:
    return Key(f"name/{name}", "repository")


def identity_key(repository: str) -> Key:
    return Key(contents(repository), "repository")


def catalog_key(name: RepositoryName) -> Key:
    return Key(CATALOG_PARTITION, str(name))


def public_key(name: RepositoryName) -> Key:
    return Key(PUBLIC_PARTITION, str(name))


def removed_key(removed_at: int, repository: str) -> Key:
    return Key(REMOVED_PARTITION, f"{removed_at:012d}/{repository}")


def repository_grant_key(repository: str, team: str) -> Key:
    return Key(contents(repository), f"grant/{team}")


def account_key(name: str) -> Key:
    return Key(f"account/{name}", "account")


def accounts_key(name: str) -> Key:
    return Key(ACCOUNTS_PARTITION, name)


def admins_key(name: str) -> Key:
    return Key(ADMINS_PARTITION, name)


def places(account: str) -> str:
    """The partition of what a user or a robot, by id, is in."""
    return f"user/{account}"


def place_key(account: str, organization: str, team: str = "") -> Key:
    """A membership in an organization, or in a team of it; all by id."""
    return Key(places(account), f"in/{organization}/{team}" if team else f"in/{organization}")


def token_index_key(account: str, token: str) -> Key:
    return Key(places(account), f"token/{token}")


def tokens_key(account: str) -> Key:
    return Key(places(account), "tokens")


def token_key(hashed: str) -> Key:
    return Key(f"token/{hashed}", "token")


def refresh_key(hashed: str) -> Key:
    return Key(f"refresh/{hashed}", "refresh")


def family_key(family: str) -> Key:
    return Key(f"family/{family}", "family")


def attempts_key(hashed_name: str, address: str | None = None) -> Key:
    """Of a name's wrong passwords, those from one address, or (None) from everywhere."""
    return Key(f"attempts/{hashed_name}", "all" if address is None else f"from/{address}")


def attempts_from_key(address: str) -> Key:
    return Key(f"attempts/from/{address}", "all")


def organization(account: str) -> str:
    """The partition of an organization, by id."""
    return f"organization/{account}"


def member_key(account: str, user: str) -> Key:
    return Key(organization(account), f"member/{user}")


def robot_key(account: str, robot: str) -> Key:
    return Key(organization(account), f"robot/{robot}")


def team_key(account: str, team: str) -> Key:
    return Key(organization(account), f"team/{team}")


def namespace_grant_key(account: str, team: str) -> Key:
    return Key(organization(account), f"grant/{team}")


def team_contents(team: str) -> str:
    """The partition of a team, by id."""
    return f"team/{team}"


def team_member_key(team: str, login: str) -> Key:
    return Key(team_contents(team), f"member/{login}")


def team_repository_key(team: str, name: RepositoryName) -> Key:
    return Key(team_contents(team), f"repository/{name}")


def contents(repository: str) -> str:
    """The partition of a repository's contents, by its id."""
    return f"repository/{repository}"


def link_key(repository: str, digest: Digest) -> Key:
    return Key(contents(repository), f"blob/{digest}")


def manifest_key(repository: str, digest: Digest) -> Key:
    return Key(contents(repository), f"manifest/{digest}")


def content_key(repository: str, digest: Digest) -> Key:
    return Key(contents(repository), f"content/{digest}")


def tag_key(repository: str, tag: Tag) -> Key:
    return Key(contents(repository), f"tag/{tag}")


def tagged_key(repository: str, digest: Digest, tag: Tag) -> Key:
    return Key(contents(repository), f"tagged/{digest}/{tag}")


def needed_blob_key(repository: str, digest: Digest, manifest: Digest) -> Key:
    return Key(contents(repository), f"needed/blob/{digest}/{manifest}")


def needed_manifest_key(repository: str, digest: Digest, index: Digest) -> Key:
    return Key(contents(repository), f"needed/manifest/{digest}/{index}")


def referrer_key(repository: str, subject: Digest, manifest: Digest) -> Key:
    return Key(contents(repository), f"referrer/{subject}/{manifest}")


def removed_manifest_key(repository: str, digest: Digest) -> Key:
    return Key(contents(repository), f"removed/manifest/{digest}")


def removed_tag_key(repository: str, tag: Tag, removed_at: int) -> Key:
    return Key(contents(repository), f"removed/tag/{tag}/{removed_at:012d}")


def restorable_key(removed_at: int, repository: str, what: Digest | Tag) -> Key:
    kind = "manifest" if isinstance(what, Digest) else "tag"
    return Key(RESTORABLE_PARTITION, f"{removed_at:012d}/{repository}/{kind}/{what}")


def retired_key(key: str) -> Key:
    """``key`` is that of an object in the BlobStore."""
    return Key(RETIRED_PARTITION, key)


def untagged_key(condemned_at: int, repository: str, digest: Digest) -> Key:
    return Key(UNTAGGED_PARTITION, f"{condemned_at:012d}/{repository}/{digest}")


def blob_key(digest: Digest) -> Key:
    return Key(f"blob/{digest}", "blob")


def holder_key(digest: Digest, repository: str) -> Key:
    return Key(f"blob/{digest}", f"link/{repository}")


def upload_key(upload: str) -> Key:
    return Key(f"upload/{upload}", "upload")


def direct_key(upload: str, digest: Digest) -> Key:
    """An item of its own: what comes by the direct lane changes nothing for whoever uses the upload otherwise."""
    return Key(f"upload/{upload}", f"direct/{digest}")


def unfinished_key(begun_at: int, upload: str) -> Key:
    return Key(UNFINISHED_PARTITION, f"{begun_at:012d}/{upload}")


def pending_key(begun_at: int, repository: str, digest: Digest) -> Key:
    return Key(PENDING_PARTITION, f"{begun_at:012d}/{repository}/{digest}")


def fresh_revision() -> int:
    """A revision that no item ever had: one that counted up would begin again with an item that was made anew, and what was
    decided about the earlier one would hold for it."""
    return secrets.randbits(62)


def revised(attributes: Attributes) -> Condition:
    """Holds if the item still has the revision of these attributes; an earlier release gave blobs none."""
    return Equals(REVISION, number(attributes, REVISION)) if REVISION in attributes else Lacks(REVISION)


def job_contents(job: str) -> str:
    """The partition of a job's record and its log, by its id."""
    return f"job/{job}"


def job_key(job: str) -> Key:
    return Key(job_contents(job), "job")


def job_log_key(job: str, offset: int) -> Key:
    return Key(job_contents(job), f"log/{offset:08d}")


def jobs_key(job: str) -> Key:
    return Key(JOBS_PARTITION, job)


def open_key(kind: str) -> Key:
    return Key(OPEN_PARTITION, kind)


def cron_key(kind: str) -> Key:
    return Key(CRONS_PARTITION, kind)


def last_segment(sort: str) -> str:
    """What an index item's sort key names at its end."""
    return sort.rpartition("/")[2]


def is_pending(manifest: Attributes) -> bool:
    """Is this manifest's record that of a push under way?"""
    return bool(manifest.get("pending"))


def version_of(attributes: Attributes) -> int:
    """How often a record was changed; 0 for one that an earlier release wrote."""
    return number(attributes, VERSION) if VERSION in attributes else 0


def unchanged(version: int | None) -> Condition:
    """Holds if the record is there, is not being deleted and (unless None) has this version."""
    alive = (Exists(), Lacks(DELETING))
    if version is None:
        return All(alive)
    return All((*alive, Equals(VERSION, version) if version else Lacks(VERSION)))


class Malformed(Exception):
    """A stored attribute is not what its record says: the table was written by something else."""


def text(attributes: Attributes, name: str) -> str:
    """A string attribute. Raises Malformed."""
    value = attributes.get(name)
    if not isinstance(value, str):
        raise Malformed(name)
    return value


def number(attributes: Attributes, name: str) -> int:
    """An integer attribute. Raises Malformed."""
    value = attributes.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise Malformed(name)
    return value


def flag(attributes: Attributes, name: str) -> bool:
    """A boolean attribute, False if it is not there. Raises Malformed."""
    value = attributes.get(name, False)
    if not isinstance(value, bool):
        raise Malformed(name)
    return value


def number_or(attributes: Attributes, name: str, otherwise: int) -> int:
    """An integer attribute, or ``otherwise`` if it is not there. Raises Malformed."""
    return number(attributes, name) if name in attributes else otherwise


def text_or(attributes: Attributes, name: str, otherwise: str) -> str:
    """A string attribute, or ``otherwise`` if it is not there. Raises Malformed."""
    return text(attributes, name) if name in attributes else otherwise
