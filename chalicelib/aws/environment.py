"""Where AWS is and who calls it, read as its SDKs read it, but without loading one where the environment says it all."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import Any, TypeAlias

from chalicelib.aws.signing import Credentials

_DOMAINS = {
    "cn-": "amazonaws.com.cn",
    "eu-isoe-": "cloud.adc-e.uk",
    "eusc-": "amazonaws.eu",
    "us-iso-": "c2s.ic.gov",
    "us-isob-": "sc2s.sgov.gov",
    "us-isof-": "csp.hci.ic.gov",
}
"""Where the services of a partition are, by how its regions begin; botocore's partitions.json."""

_Session: TypeAlias = Any  # botocore's, made at run time; there are no types to import


class Environment:
    """The ``variables`` AWS_REGION, AWS_ENDPOINT_URL and the like; what is not given there is where botocore finds it: in a
    profile, or with the machine's role. Threads may share it."""

    def __init__(self, variables: Mapping[str, str] = os.environ) -> None:
        self._variables = variables
        self._guard = Lock()
        self._session: _Session = None

    def region(self, otherwise: str = "") -> str:
        """Raises RuntimeError if none is set; ``otherwise`` is for a service elsewhere, which has none of its own."""
        for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
            if region := self._variables.get(name):
                return region
        if otherwise:
            return otherwise
        with self._guard:
            found: str | None = self._botocore().get_config_variable("region")
        if not found:
            raise RuntimeError("no AWS region to call: set AWS_REGION")
        return found

    def elsewhere(self, service: str) -> str:
        """The URL that is named for a service, without a slash at its end; "" if it is AWS's own. ``service`` is its name in
        AWS_ENDPOINT_URL_<NAME>, in small letters."""
        names = (f"AWS_ENDPOINT_URL_{service.upper()}", "AWS_ENDPOINT_URL")
        return next((url.rstrip("/") for name in names if (url := self._variables.get(name))), "")

    def endpoint(self, service: str, region: str) -> str:
        """A service's URL, without a slash at its end: ``elsewhere`` or AWS's, whose name has no underscores."""
        if named := self.elsewhere(service):
            return named
        domain = next((domain for prefix, domain in _DOMAINS.items() if region.startswith(prefix)), "amazonaws.com")
        return f"https://{service.replace('_', '')}.{region}.{domain}"

    def bundle(self) -> str:
        """AWS_CA_BUNDLE, the file of an own authority's certificates; "" for none."""
        return self._variables.get("AWS_CA_BUNDLE", "")

    def authorities(self) -> str:
        """The file of the certificates that are trusted: the ``bundle``, or the one that botocore brings."""
        if bundle := self.bundle():
            return bundle
        from importlib.util import find_spec

        botocore = find_spec("botocore")  # finds it, and does not import it
        if botocore is None or botocore.origin is None:
            raise RuntimeError("no certificate authorities: set AWS_CA_BUNDLE")
        return str(Path(botocore.origin).with_name("cacert.pem"))

    def user_agent(self) -> str:
        """What calls are made as; CloudTrail shows it, and AWS_SDK_UA_APP_ID in it, as of calls by an SDK."""
        application = self._variables.get("AWS_SDK_UA_APP_ID")
        return f"slipway app/{application}" if application else "slipway"

    def credentials(self) -> Credentials:
        """Those of the environment, as on Lambda; else botocore's, which renews them itself. To be read anew for each call.
        Raises RuntimeError without any."""
        given = self._variables.get
        if access_key := given("AWS_ACCESS_KEY_ID"):
            return Credentials(access_key, given("AWS_SECRET_ACCESS_KEY", ""), given("AWS_SESSION_TOKEN", ""))
        with self._guard:
            found = self._botocore().get_credentials()
        if found is None:
            raise RuntimeError("no AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
        frozen = found.get_frozen_credentials()
        return Credentials(frozen.access_key, frozen.secret_key, frozen.token or "")

    def client(self, service: str, **arguments: Any) -> Any:  # noqa: ANN401 (botocore's, made at run time)
        """A client of botocore for what it has a model of, with these credentials."""
        with self._guard:
            return self._botocore().create_client(service, **arguments)

    def _botocore(self) -> _Session:
        """The session, under the guard. Without boto3, which would be loaded for nothing but its name."""
        if self._session is None:
            from botocore.session import Session

            self._session = Session()
            given = self._variables.get
            if access_key := given("AWS_ACCESS_KEY_ID"):
                self._session.set_credentials(access_key, given("AWS_SECRET_ACCESS_KEY"), given("AWS_SESSION_TOKEN"))
        return self._session
