"""What functions may do and what they do, compared both ways after all that the tests before had them do."""

from __future__ import annotations

import pytest

from infra.stack import rotation
from infra.stack.roles import ALLOWED
from tests.cloud.calls import EDGE, allowed
from tests.cloud.stage import Cloud

ROTATE = "rotate"
ELSEWHERE = {"api_handler": {"secretsmanager:GetSecretValue"}}


def _allowed(function: str) -> set[str]:
    return allowed(ALLOWED[function]) if function != ROTATE else allowed(rotation.ALLOWED)


@pytest.mark.parametrize("function", [*ALLOWED, ROTATE])
def test_a_function_may_do_what_it_does_and_no_more(cloud: Cloud, function: str) -> None:
    calls = [seen for seen in cloud.seen if seen.function == function]
    assert [seen for seen in calls if seen.status == 403] == []
    assert {action for seen in calls for action in seen.actions()} == _allowed(function)


def test_cloudfront_stores_direct_uploads_and_does_nothing_else(cloud: Cloud) -> None:
    assert {action for seen in cloud.seen if seen.sender == EDGE for action in seen.actions()} == {"s3:PutObject direct"}


def test_every_call_was_somebody_s(cloud: Cloud) -> None:
    assert {seen.function for seen in cloud.seen} == {*ALLOWED, ROTATE, EDGE}
