"""Where clients reach the registry, and what the edge there offers."""

from __future__ import annotations

from infra.stack.language import Value, attribute, chosen, ref, text

URL: Value = chosen(
    "HasPublicUrl",
    ref("PublicUrl"),
    chosen(
        "HasEdge",
        chosen("HasDomain", text("https://${Domain}"), text("https://${Distribution.DomainName}")),
        attribute("HttpApi", "ApiEndpoint"),
    ),
)
"""Without a path. The distribution refers to the HTTP API, and that to no function: so functions may name it."""

EDGE_LANES: Value = chosen("HasRelay", "direct,relay", "direct")
"""What an edge offers beside inline: the setting SLIPWAY_LANES."""


def distribution(identifier: str = "${Distribution}") -> Value:
    """Its ARN, which is no attribute of the resource."""
    return text(f"arn:${{AWS::Partition}}:cloudfront::${{AWS::AccountId}}:distribution/{identifier}")
