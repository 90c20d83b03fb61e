"""The bench: Slipway beside Debian's docker-registry on one machine, in one run. It prints and asserts nothing on time.

    python -m tests.bench.run

Machines differ and so does one machine from hour to hour, so what counts is the ratio: the two take turns within a round,
and each figure is the median of the rounds.
"""
