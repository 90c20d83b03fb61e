"""The doors: the only rooms that know Chalice."""
