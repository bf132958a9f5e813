"""docs/models.md says of each family what the family says of itself."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from diffengine.engine.models import FAMILIES
from diffengine.engine.models.family import Family
from diffengine.engine.models.known_families import KNOWN

PAGE = (Path(__file__).resolve().parents[3] / "docs/models.md").read_text()
OFFSETS = {0: "its position", -1: "the position before"}


def rows_of(heading: str) -> dict[str, list[str]]:
    """Cells by architecture, of the table under a heading."""
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = {}
    for line in section.splitlines():
        cells = re.split(r"(?<!\\)\|", line)[1:-1]
        for architecture in re.findall(r"`(\w+)`", cells[0]) if cells else ():
            rows[architecture] = [cell.strip() for cell in cells]
    return rows


@pytest.mark.parametrize("architecture", FAMILIES)
def test_a_familys_row_is_the_familys(architecture: str) -> None:
    family: Family = FAMILIES.load(architecture)
    _, _, stock, tensors, stands, mask, policy = rows_of("Families")[architecture]
    assert family.stock_class.lower().partition("for")[0] == stock.replace("-", "").lower()
    assert tensors.startswith("as published") == (not family.renames and not family.stacked)
    assert stands == OFFSETS[family.read_offset]
    assert policy == f"`{family.policy}`"
    name = family.tokens.mask
    if name.text is not None:
        assert f"`{name.text}`".replace("|", "\\|") in mask
    if name.key is not None and (name.text is None or not name.key_optional):
        assert f"`{name.key}`" in mask
    for published in (name.published, name.fallback):
        assert published is None or str(published) in mask


def test_the_table_has_no_other_families() -> None:
    assert set(rows_of("Families")) == set(FAMILIES)


def test_what_is_refused_is_on_the_page() -> None:
    assert set(rows_of("Known, and refused")) == set(KNOWN)
