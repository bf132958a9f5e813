"""Lets the tests here import `compared_runs`, which lies with the tests of comparisons, by name."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "compare"))
