"""Clients, collectors and kills, all at once, for as long as one likes: `make soak MINUTES=10`."""
