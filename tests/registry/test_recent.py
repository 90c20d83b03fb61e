"""What is kept in memory stays within its bound, and what is used stays longest."""

from __future__ import annotations

from chalicelib.registry.recent import Recent


def test_the_one_unused_for_longest_goes_first() -> None:
    recent: Recent[str, int] = Recent(2)
    recent.put("a", 1)
    recent.put("b", 2)
    assert recent.get("a") == 1
    recent.put("c", 3)
    assert (recent.get("a"), recent.get("b"), recent.get("c")) == (1, None, 3)


def test_it_never_holds_more_than_its_bound() -> None:
    recent: Recent[int, int] = Recent(3)
    for number in range(1000):
        recent.put(number % 7, number)
        assert len(recent) <= 3


def test_a_later_value_takes_the_place_of_an_earlier() -> None:
    recent: Recent[str, int] = Recent(2)
    recent.put("a", 1)
    recent.put("a", 2)
    assert (recent.get("a"), len(recent)) == (2, 1)
