"""cosign: go-containerregistry, with its signature as an artifact that has the signed image as subject.

The public transparency log and its trust root are left out: nothing here may depend on a service elsewhere.
"""

from __future__ import annotations

from tests.clients.images import SourceImage
from tests.clients.sandbox import Sandbox
from tests.clients.wire import Wire

PLAIN = "--allow-http-registry"
OFFLINE = ("--use-signing-config=false", "--tlog-upload=false", "--yes")


def test_sign_verify(sandbox: Sandbox, wire: Wire, multi: SourceImage) -> None:
    account, remote = sandbox.registry, sandbox.reference("signed", multi.tag)
    words = ("crane", "auth", "login", account.host, "-u", account.user, "--password-stdin")
    sandbox.run(*words, stdin=account.password)
    sandbox.run("crane", "push", str(multi.layout), remote)
    by_digest = f"{remote.rpartition(':')[0]}@{multi.digest}"

    sandbox.run("cosign", "generate-key-pair")
    sandbox.run("cosign", "sign", PLAIN, *OFFLINE, "--key", "cosign.key", by_digest)
    referrers = wire.referrers(sandbox.repository("signed"), multi.digest)
    assert len(referrers) == 1, referrers
    verified = ("cosign", "verify", PLAIN, "--insecure-ignore-tlog", "--key", "cosign.pub", by_digest)
    assert multi.digest in sandbox.run(*verified)

    sandbox.run(*words, stdin="not the password")
    sandbox.is_refused(*verified)
