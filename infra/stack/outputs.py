"""What whoever deployed is told, and what infra/deploy needs."""

from __future__ import annotations

from infra.stack.address import EDGE_LANES, URL
from infra.stack.language import Value, attribute, chosen, ref

OUTPUTS: dict[str, Value] = {
    "Url": {
        "Description": "Where clients reach the registry",
        "Value": URL,
    },
    "ApiEndpoint": {"Description": "The HTTP API's own address", "Value": attribute("HttpApi", "ApiEndpoint")},
    "AdminSecret": {"Description": "The secret that holds admin's first password", "Value": attribute("AdminSecret", "Id")},
    "FirstStart": {"Description": "The function that makes the first account", "Value": ref("EnsureAdminAlias")},
    "Bucket": {"Description": "The bucket of blobs", "Value": ref("Bucket")},
    "FailedAdoptions": {"Description": "The queue of adoptions that failed three times", "Value": ref("FailedAdoptions")},
    "FailedRunJobs": {"Description": "The queue of starts of jobs that failed", "Value": ref("FailedRunJobs")},
    "Lanes": {
        "Description": "What the edge offers beside inline: none, direct, or direct,relay",
        "Value": chosen("HasEdge", EDGE_LANES, "none"),
    },
    "UploadSecret": {
        "Description": "The secret that holds the keys of upload states",
        "Value": attribute("UploadSecret", "Id"),
    },
    "KeyValueStore": {
        "Condition": "HasEdge",
        "Description": "The ARN of the edge's key-value store",
        "Value": attribute("KeyValueStore", "Arn"),
    },
    "Distribution": {"Condition": "HasEdge", "Description": "The id of the distribution", "Value": ref("Distribution")},
    "DistributionDomain": {
        "Condition": "HasEdge",
        "Description": "The distribution's own host, which a DNS record of Domain must point to",
        "Value": attribute("Distribution", "DomainName"),
    },
    "RelaySecret": {
        "Condition": "HasRelay",
        "Description": "The secret that holds the relays' key, for a relay that runs elsewhere",
        "Value": attribute("RelaySecret", "Id"),
    },
}
