"""The checkout that this package may be running from."""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def hide_checkout_root() -> None:
    """Take the checkout's root off sys.path: its `kernels` would shadow the package that
    transformers imports."""
    root = {str(ROOT), os.path.realpath(ROOT)}
    sys.path[:] = [
        folder for folder in sys.path if folder != "" and os.path.realpath(folder) not in root
    ]
