r"""The last `\boxed{}` of a text: where the answer of a solution stands, gold or generated."""

from __future__ import annotations

import re

_BRACES = re.compile(
    r"\\(?:boxed|fbox)\s*\{"  # a box opens
    r"|\\."  # an escaped character, `\{` among them, counts for nothing
    r"|[{}]",
    re.DOTALL,
)


def last_boxed(text: str) -> tuple[int, int] | None:
    r"""The character span of the content of the last complete `\boxed{...}` (or `\fbox{...}`),
    braces nested.

    A box that is never closed is passed over for the one before it.
    """
    last: tuple[int, int] | None = None
    open_braces: list[int | None] = []  # where the content of a box begins, None for other braces
    for token in _BRACES.finditer(text):
        if token[0] == "}":
            start = open_braces.pop() if open_braces else None
            if start is not None and (last is None or start > last[0]):
                last = (start, token.start())
        elif token[0] == "{":
            open_braces.append(None)
        elif token[0].endswith("{") and token[0] != r"\{":
            open_braces.append(token.end())
    return last
