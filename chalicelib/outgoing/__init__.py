"""OUTGOING: asking servers whose addresses somebody else has chosen.

``Web`` (public_https.py, on public_addresses.py). Arrows: ``wiring -> outgoing -> registry``, standard library alone.
"""
