"""The keys of upload states at the edge: how they get there (store.py) and how they are replaced (rotate.py)."""
