"""docs/models.md says of each family what the family says of itself."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from diffengine.engine.models import FAMILIES, a2d
from diffengine.engine.models.family import Blocks, Family
from diffengine.engine.models.known_families import KNOWN

PAGE = (Path(__file__).resolve().parents[3] / "docs/models.md").read_text()
OFFSETS = {0: "its position", -1: "the position before"}


KINDS = {
    "A2DLlamaLMHeadModel": a2d.LLAMA.blocks,
    "A2DQwen2LMHeadModel": a2d.QWEN2.blocks,
    "A2DQwen3LMHeadModel": a2d.QWEN3.blocks,
}
"""Of architectures that have two kinds of checkpoint: the one that attends block by block. Its row
is below that of the other."""


def rows_of(heading: str) -> dict[str, list[list[str]]]:
    """Rows of cells by architecture, of the table under a heading."""
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    rows: dict[str, list[list[str]]] = {}
    for line in section.splitlines():
        cells = re.split(r"(?<!\\)\|", line)[1:-1]
        for architecture in re.findall(r"`(\w+)`", cells[0]) if cells else ():
            rows.setdefault(architecture, []).append([cell.strip() for cell in cells])
    return rows


def blocks_of(blocks: Blocks) -> str:
    """What the page says of a family's blocks."""
    start = "end" if blocks.from_prompt_end else "start"
    last = "whole" if blocks.whole_last else "cut"
    context = ", context causal" if blocks.causal_context else ""
    return f"{blocks.length}, from the prompt's {start}, last one {last}{context}"


@pytest.mark.parametrize("architecture", FAMILIES)
def test_a_familys_row_is_the_familys(architecture: str) -> None:
    families: list[Family] = [FAMILIES.load(architecture)]
    families += [KINDS[architecture]] if architecture in KINDS else []
    rows = rows_of("Families")[architecture]
    assert (families[0].kind is None) == (len(families) == 1)
    for family, row in zip(families, rows, strict=True):
        check(family, row)


def check(family: Family, row: list[str]) -> None:
    if family.blocks is not None:
        assert row.pop(4) == blocks_of(family.blocks)
    _, _, stock, tensors, stands, mask, policy = row
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
