"""How pieces become parts, for any sizes."""

from __future__ import annotations

from itertools import accumulate, pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from chalicelib.aws.s3_assembly import COPIED, Stretch, planned
from chalicelib.aws.s3_blobs import PART
from chalicelib.aws.s3_multipart import MAX_PARTS, SMALLEST_PART

MIB, GIB, TIB = 1 << 20, 1 << 30, 1 << 40
LARGEST_PART = 5 * GIB

sizes = st.lists(
    st.integers(0, 3)
    | st.integers(0, 4 * MIB)
    | st.integers(4 * MIB, 6 * MIB)
    | st.integers(0, 100 * MIB)
    | st.integers(0, TIB),
    max_size=30,
)


def _pieces_of(plan: list[Stretch], given_sizes: list[int]) -> list[tuple[int, int]]:
    """Where in the whole each stretch that is copied begins by its own word, and where by those before it."""
    begins = list(accumulate(given_sizes, initial=0))
    position, places = 0, []
    for stretch in plan:
        if stretch.piece is not None:
            places.append((begins[stretch.piece] + stretch.start, position))
            assert stretch.start + stretch.size <= given_sizes[stretch.piece]
        position += stretch.size
    return places


@given(sizes)
@example([])
@example([0, 0])
@example([1, 5 * MIB, 1, 5 * MIB])
@example([5 * MIB])
@example([4 * MIB] * 3)
@example([48 * TIB, 1, 100 * MIB])
@example([4 * MIB] * 50_000)
@example([1, 6 * MIB] * 20_000)
def test_every_plan_is_one_that_s3_takes(given_sizes: list[int]) -> None:
    plan = planned(given_sizes, SMALLEST_PART, PART)
    assert sum(stretch.size for stretch in plan) == sum(given_sizes)
    assert len(plan) <= MAX_PARTS
    assert all(stretch.size > 0 for stretch in plan)
    assert all(SMALLEST_PART <= stretch.size <= LARGEST_PART for stretch in plan[:-1])
    if sum(given_sizes) <= PART * MAX_PARTS:
        assert all(stretch.size <= PART for stretch in plan if stretch.piece is None)
    assert all(own == reached for own, reached in _pieces_of(plan, given_sizes))


@given(st.integers(SMALLEST_PART, TIB))
def test_a_large_piece_is_copied_in_even_parts(size: int) -> None:
    plan = planned([size], SMALLEST_PART, PART)
    assert all(stretch.piece == 0 for stretch in plan)
    assert max(stretch.size for stretch in plan) - min(stretch.size for stretch in plan) <= 1
    assert len(plan) == -(-size // COPIED)
    assert all(one.start + one.size == two.start for one, two in pairwise(plan))


def test_what_is_small_is_sent_together() -> None:
    assert planned([4 * MIB] * 9, SMALLEST_PART, PART) == [Stretch(16 * MIB), Stretch(16 * MIB), Stretch(4 * MIB)]
    # a piece behind small ones gives up no more than fills their part
    assert planned([MIB, 20 * MIB, MIB], SMALLEST_PART, PART) == [
        Stretch(5 * MIB),
        Stretch(16 * MIB, 1, 4 * MIB),
        Stretch(MIB),
    ]
