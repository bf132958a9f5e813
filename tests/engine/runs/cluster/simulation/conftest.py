"""Lets the tests here import `simulated_run` and its world by name."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
