"""An audit of the program under test."""

from __future__ import annotations

from chalicelib.registry.pushes import Sparse
from chalicelib.registry.upkeep.audit import Audit
from chalicelib.registry.upkeep.leftovers import Leftovers
from tests.counts import Run
from tests.surface import Surface


def audit(surface: Surface, run: Run | None = None, sparse: Sparse = Sparse.NONE) -> Run:
    """One whole audit, or what is left of that of ``run``."""
    run = run or Run()
    leftovers = Leftovers(surface.table, surface.store, surface.clock)
    images = surface.registry.images
    Audit(
        surface.table,
        surface.store,
        surface.clock,
        images=images,
        leftovers=leftovers,
        configuration=surface.configuration,
        sparse=sparse,
    ).run(run)
    return run
