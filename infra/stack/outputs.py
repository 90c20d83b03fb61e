"""What whoever deployed is told, and what infra/deploy.py needs."""

from __future__ import annotations

from infra.stack.language import Value, attribute, chosen, ref

OUTPUTS: dict[str, Value] = {
    "Url": {
        "Description": "Where clients reach the registry",
        "Value": chosen("HasPublicUrl", ref("PublicUrl"), attribute("HttpApi", "ApiEndpoint")),
    },
    "ApiEndpoint": {"Description": "The HTTP API's own address", "Value": attribute("HttpApi", "ApiEndpoint")},
    "AdminSecret": {"Description": "The secret that holds admin's first password", "Value": attribute("AdminSecret", "Id")},
    "FirstStart": {"Description": "The function that makes the first account", "Value": ref("EnsureAdminAlias")},
}
