"""notation: a signature stored as an artifact with the signed image as subject.

Its `login` keeps passwords in a keyring only, so each command is given the account instead.
"""

from __future__ import annotations

import json

from tests.clients.images import SourceImage
from tests.clients.sandbox import Sandbox
from tests.clients.wire import Wire

SIGNATURE = "application/vnd.cncf.notary.signature"
PLAIN = "--insecure-registry"


def trust(sandbox: Sandbox) -> None:
    """A test key, and a policy that trusts it for every repository."""
    sandbox.run("notation", "cert", "generate-test", "--default", "slipway.test")
    policy = {
        "version": "1.0",
        "trustPolicies": [
            {
                "name": "all",
                "registryScopes": ["*"],
                "signatureVerification": {"level": "strict"},
                "trustStores": ["ca:slipway.test"],
                "trustedIdentities": ["*"],
            }
        ],
    }
    path = sandbox.folder / "policy.json"
    path.write_text(json.dumps(policy))
    sandbox.run("notation", "policy", "import", str(path))


def test_sign_list_verify(sandbox: Sandbox, wire: Wire, multi: SourceImage) -> None:
    repository, remote = sandbox.repository("signed"), sandbox.reference("signed", multi.tag)
    words = ("skopeo", "copy", "--all", "--preserve-digests", "--dest-tls-verify=false", "--dest-creds")
    account = sandbox.registry
    sandbox.run(*words, f"{account.user}:{account.password}", f"oci:{multi.reference}", f"docker://{remote}")
    by_digest = f"{remote.rpartition(':')[0]}@{multi.digest}"
    trust(sandbox)
    signed_in = (PLAIN, "-u", account.user, "-p", account.password)
    sandbox.is_refused("notation", "list", PLAIN, "-u", account.user, "-p", "not the password", by_digest)
    sandbox.run("notation", "sign", *signed_in, "--force-referrers-tag=false", by_digest)

    (referrer,) = wire.referrers(repository, multi.digest)
    assert referrer["artifactType"] == SIGNATURE
    assert referrer["digest"] in sandbox.run("notation", "list", *signed_in, by_digest)
    assert "Successfully verified" in sandbox.run("notation", "verify", *signed_in, by_digest)
