"""The management API: health, and repositories' settings."""
