"""The checkout that this package may be running from."""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def hide_checkout_root() -> None:
    """Take the checkout's root off sys.path: its `kernels` would shadow the package that
    transformers imports."""
    here = {str(ROOT), os.path.realpath(ROOT)}
    sys.path[:] = [p for p in sys.path if p != "" and os.path.realpath(p) not in here]
