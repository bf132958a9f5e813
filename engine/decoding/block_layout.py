"""Where the blocks of a row lie, by arithmetic on its lengths alone.

A row's sheet begins with the block in which its generation begins: C places, the first `tail` of
which are the prompt's last tokens. Place c holds generated position c - tail, and token
`prompt_length` - tail + c of the row. Shapes: K tokens of a block, G generated positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..models.family import Blocks


@dataclass(frozen=True)
class BlockLayout:
    """Blocks of `length` tokens for `gen_length` generated ones, counted as `blocks` says."""

    blocks: Blocks
    length: int
    gen_length: int

    @property
    def places(self) -> int:
        """The most places that a sheet can have, a whole number of blocks."""
        longest_tail = 0 if self.blocks.from_prompt_end else self.length - 1
        return self.blocks_of(longest_tail) * self.length

    def tail(self, prompt_length: int) -> int:
        """How many of the prompt's tokens the first block begins with."""
        return 0 if self.blocks.from_prompt_end else prompt_length % self.length

    def blocks_of(self, tail: int) -> int:
        """How many blocks a row has whose first begins with `tail` tokens of the prompt."""
        return -(-(tail + self.gen_length) // self.length)

    def end(self, tail: int) -> int:
        """The place behind the last that is decoded."""
        if self.blocks.whole_last:
            return self.blocks_of(tail) * self.length
        return tail + self.gen_length

    def shift(self, prompt_length: int) -> int:
        """What has to be added to a token's position so that blocks begin at multiples of their
        length."""
        return -prompt_length % self.length if self.blocks.from_prompt_end else 0

    def tokens(self, prompt_length: int) -> int:
        """How many tokens a row has when all its blocks are open or full."""
        tail = self.tail(prompt_length)
        return prompt_length - tail + self.end(tail)

    def most_steps(self, prompt_length: int, *, in_block: int, in_all: int) -> list[int]:
        """The most steps of each block of a row, which makes at most `in_block` of them in a block
        and `in_all` together."""
        blocks = self.blocks_of(self.tail(prompt_length))
        return [min(in_block, max(0, in_all - block * in_block)) for block in range(blocks)]

    def passed_tokens(self, prompt_length: int, steps: Sequence[int], *, keeps: bool) -> int:
        """Tokens of a row that go through the network, all passes together, where its blocks make
        so many `steps`, from the first on.

        Each pass brings the open block. With a cache (`keeps`) the first one of a block brings,
        beside it, what is not kept yet: the prompt up to the first block, later the block before.
        Without one every pass brings all tokens before the open block.
        """
        tail = self.tail(prompt_length)
        context = prompt_length - tail
        total = 0
        for block, count in enumerate(steps):
            begin = block * self.length
            end = min(begin + self.length, self.end(tail))
            total += count * (end - begin)
            if not keeps:
                total += count * (context + begin)
            elif count:
                total += self.length if block else context
        return total
