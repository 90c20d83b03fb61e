"""What is packaged, looked at without an emulator."""

from __future__ import annotations

import platform

ARCHITECTURE = {"aarch64": "arm64"}.get(platform.machine(), platform.machine())
"""This machine's, in Lambda's words: what is packaged for it can be run here, by tests and by the emulator."""
