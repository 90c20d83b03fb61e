"""Where everything lies in the table, drawn once.

``partition`` / ``sort``; indented lines are items. Whatever is listed is an index item written in the same transaction as
what it lists, so a list never lags. A repository's contents hang on its id, never on its name: a name may be given to
another repository later, an id never.

::

    name/<repository name>
        repository                                  id, visibility, created_at
    catalog
        <repository name>                           (index) what /v2/_catalog lists, in order
    repository/<repository id>
        repository                                  name: whose id this is
        blob/<digest>                               link: key, size, referenced?; revision. Reading this one item answers a pull
        manifest/<digest>                           media_type, size, subject?, pending?, begun_at?; revision
        content/<digest>                            the manifest's exact bytes, or the store's key of a large one
        tag/<tag>                                   digest, media_type, size, pushed_at
        tagged/<digest>/<tag>                       (index) the tags of a manifest
        needed/blob/<digest>/<manifest>             (index) which manifests need a blob
        needed/manifest/<digest>/<index>            (index) which indexes need a manifest
        referrer/<subject digest>/<manifest>        (index) its descriptor, unless that is large
    blob/<digest>
        blob                                        key, size: the proven bytes of this content address
        link/<repository id>                        (index) the repositories that hold it, with their names
    upload/<upload id>
        upload                                      uploads.py. An upload that nothing was written to has none
        direct/<digest>                             what became of its object of the direct lane: key or swept. adoption.py
    pending
        <begun at>/<repository id>/<digest>         (index) pushes of large manifests that are under way, oldest first
    unfinished
        <begun at>/<upload id>                      (index) uploads that are not finished, oldest first
    account/<name>, refresh/<hash>                  accounts.py, tokens.py
    keys/<root key's thumbprint>                    crypto/keyring.py

``revision`` counts what came to depend on the item. Who takes an item away does so on the condition that the revision is
the one at which nothing depended on it; who comes to depend on it raises the revision in the same transaction.
"""

from __future__ import annotations

from chalicelib.registry.names import Digest, RepositoryName, Tag
from chalicelib.registry.ports import Attributes, Key

CATALOG_PARTITION = "catalog"
UNFINISHED_PARTITION = "unfinished"
PENDING_PARTITION = "pending"
REVISION = "revision"
REFERENCED = "referenced"


def repository_key(name: RepositoryName) -> Key:
    return Key(f"name/{name}", "repository")


def identity_key(repository: str) -> Key:
    return Key(contents(repository), "repository")


def catalog_key(name: RepositoryName) -> Key:
    return Key(CATALOG_PARTITION, str(name))


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


def last_segment(sort: str) -> str:
    """What an index item's sort key names at its end."""
    return sort.rpartition("/")[2]


def is_pending(manifest: Attributes) -> bool:
    """Is this manifest's record that of a push under way?"""
    return bool(manifest.get("pending"))


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
