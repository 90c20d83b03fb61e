"""The images that every client pushes: a real Debian root file system, and a two-platform index.

Written as OCI image layouts by this module alone, so that no client's own idea of an image decides what is right: each
blob's digest is known before the first request is sent. Archives hold a fixed time and sorted members, so the same root
file system always gives the same digests. The layouts are kept under .cache, since making the first takes half a minute.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import random
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Json = dict[str, Any]

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
REFERENCE_NAME = "org.opencontainers.image.ref.name"

EPOCH = 1_700_000_000
CREATED = "2023-11-14T22:13:20Z"
DEBIAN_SUITE = "bookworm"
DEBIAN_LAYERS = ("libraries", "programs", "rest")
PLATFORMS = ("amd64", "arm64")


@dataclass(frozen=True, slots=True)
class SourceImage:
    """An OCI layout with one tag, and what that tag names."""

    layout: Path
    tag: str
    digest: str

    @property
    def reference(self) -> str:
        return f"{self.layout}:{self.tag}"

    def blob(self, digest: str) -> Path:
        return self.layout / "blobs" / digest.replace(":", "/")

    def document(self, digest: str) -> Json:
        parsed: Json = json.loads(self.blob(digest).read_bytes())
        return parsed

    def digests(self) -> set[str]:
        """Every digest reachable from the tag: index, manifests, configurations and layers."""
        return {digest for digest, _ in reachable(self.digest, self.document)}

    def content(self) -> set[str]:
        """As `digests`, but each is the hash of the file found under it: equal to `digests` in a sound layout."""
        return {sha256(self.blob(digest).read_bytes()) for digest in self.digests()}

    def manifest(self, architecture: str = PLATFORMS[0]) -> Json:
        top = self.document(self.digest)
        for child in top.get("manifests", ()):
            if child["platform"]["architecture"] == architecture:
                return self.document(child["digest"])
        return top

    def config_digest(self, architecture: str = PLATFORMS[0]) -> str:
        digest: str = self.manifest(architecture)["config"]["digest"]
        return digest

    def diff_ids(self, architecture: str = PLATFORMS[0]) -> list[str]:
        """The digests of the uncompressed layers, which survive every client's recompression."""
        ids: list[str] = self.document(self.config_digest(architecture))["rootfs"]["diff_ids"]
        return ids


def reachable(top: str, document: Callable[[str], Json]) -> Iterator[tuple[str, bool]]:
    """Yields (digest, whether it is a manifest) of `top` and of all below it; `document` reads a manifest."""
    yield top, True
    parsed = document(top)
    for child in parsed.get("manifests", ()):
        yield from reachable(child["digest"], document)
    for leaf in [*([parsed["config"]] if "config" in parsed else ()), *parsed.get("layers", ())]:
        yield leaf["digest"], False


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def stored(layout: Path, media_type: str, data: bytes) -> Json:
    """Writes a blob into the layout and returns its descriptor."""
    digest = sha256(data)
    path = layout / "blobs" / digest.replace(":", "/")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return {"mediaType": media_type, "digest": digest, "size": len(data)}


def stored_json(layout: Path, media_type: str, document: Json) -> Json:
    return stored(layout, media_type, json.dumps(document, separators=(",", ":")).encode())


def stored_image(layout: Path, architecture: str, archives: Iterable[bytes]) -> Json:
    """Writes an image of the given uncompressed layer archives; returns its manifest's descriptor with platform."""
    diff_ids: list[str] = []
    layers: list[Json] = []
    for archive in archives:
        diff_ids.append(sha256(archive))
        layers.append(stored(layout, LAYER, gzip.compress(archive, compresslevel=6, mtime=0)))
    config: Json = {
        "created": CREATED,
        "architecture": architecture,
        "os": "linux",
        "config": {"Cmd": ["/bin/sh"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": [{"created": CREATED, "created_by": "slipway client tests"} for _ in diff_ids],
    }
    manifest: Json = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": stored_json(layout, CONFIG, config),
        "layers": layers,
    }
    platform = {"architecture": architecture, "os": "linux"}
    return stored_json(layout, MANIFEST, manifest) | {"platform": platform}


@contextmanager
def new_layout(final: Path) -> Iterator[Path]:
    """A folder that takes its final name only when the block succeeds, so that half a layout is never used."""
    unfinished = final.with_name(f"{final.name}.{os.getpid()}")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    (unfinished / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    try:
        yield unfinished
        unfinished.rename(final)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def archived_layers(archive: Path) -> list[str]:
    """The hashes of the uncompressed layers in an archive of docker's format; the archive is removed."""
    with tarfile.open(archive) as source:
        members = {member.name: member for member in source}
        (manifest,) = json.loads(member_bytes(source, members["manifest.json"]))
        digests = [sha256(member_bytes(source, members[name])) for name in manifest["Layers"]]
    archive.unlink()
    return digests


def member_bytes(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    """A member's content, through a symbolic link where the archive names one layer twice."""
    opened_member = archive.extractfile(member)
    assert opened_member is not None, f"{member.name} is no file"
    return opened_member.read()


def tag_layout(layout: Path, tag: str, top: Json) -> None:
    entry = top | {"annotations": {REFERENCE_NAME: tag}}
    index: Json = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}
    (layout / "index.json").write_text(json.dumps(index))


def opened(layout: Path) -> SourceImage:
    entry = json.loads((layout / "index.json").read_text())["manifests"][0]
    return SourceImage(layout, entry["annotations"][REFERENCE_NAME], entry["digest"])


def debian_image(cache: Path) -> SourceImage:
    """Debian's minimal root file system in three layers, tens of megabytes; made once."""
    final = cache / f"debian-{DEBIAN_SUITE}"
    if not final.exists():
        with new_layout(final) as layout:
            archive = layout / "rootfs.tar"
            bootstrap(archive)
            top = stored_image(layout, PLATFORMS[0], split_archive(archive))
            archive.unlink()
            tag_layout(layout, "debian", top)
    return opened(final)


def bootstrap(archive: Path) -> None:
    """Makes the root file system from the package mirror that this system's distribution uses by default."""
    words = ["mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", DEBIAN_SUITE, str(archive)]
    subprocess.run(words, check=True, env=os.environ | {"SOURCE_DATE_EPOCH": str(EPOCH)})


def layer_of(path: str) -> str:
    """Which layer a member goes to; later layers may rely on folders of earlier ones, as in any image."""
    if path.startswith("usr/lib/"):
        return "libraries"
    return "programs" if path.startswith("usr/") else "rest"


def split_archive(archive: Path) -> list[bytes]:
    """The root file system as one archive per layer. Device nodes are left out: run times make their own."""
    sinks = {name: io.BytesIO() for name in DEBIAN_LAYERS}
    with tarfile.open(archive) as source, ExitStack() as stack:
        layers = {name: stack.enter_context(tarfile.open(fileobj=sink, mode="w")) for name, sink in sinks.items()}
        for member in source:
            member.name = member.name.removeprefix("./")
            if member.name in ("", ".") or member.isdev():
                continue
            if member.islnk():
                member.linkname = member.linkname.removeprefix("./")
            member.mtime = min(int(member.mtime), EPOCH)
            member.pax_headers = {}
            layer = layers[layer_of(member.linkname if member.islnk() else member.name)]
            layer.addfile(member, source.extractfile(member) if member.isreg() else None)
    return [sinks[name].getvalue() for name in DEBIAN_LAYERS]


def multi_platform_image(cache: Path) -> SourceImage:
    """An index of two platforms that share one layer and differ in the other."""
    final = cache / "multi-platform"
    if not final.exists():
        with new_layout(final) as layout:
            shared = small_archive("usr/share/shared.bin", random.Random(1).randbytes(300_000))
            manifests = []
            for seed, architecture in enumerate(PLATFORMS, start=2):
                own = small_archive(f"usr/lib/{architecture}.bin", random.Random(seed).randbytes(100_000))
                manifests.append(stored_image(layout, architecture, [shared, own]))
            index: Json = {"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}
            tag_layout(layout, "multi", stored_json(layout, INDEX, index))
    return opened(final)


def small_archive(path: str, content: bytes) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        member = tarfile.TarInfo(path)
        member.size, member.mtime, member.mode = len(content), EPOCH, 0o644
        archive.addfile(member, io.BytesIO(content))
    return sink.getvalue()
