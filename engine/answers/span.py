"""From characters of a decoded text to the tokens that wrote them: `token_span`.

The text is the one that `decode(ids)` gives, so `decode` must be the very function that made the
graded text: if that removed special tokens (`skip_special_tokens=True`), so must this, and the ids
stay the *raw* ids of all generated positions; a special token then writes no character and never
belongs to an answer. Re-tokenising the answer and searching for its ids finds the wrong place or
none in three cases of four; decoding prefixes does not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

_PARTIAL = "\ufffd"


def token_span(
    decode: Callable[[Sequence[int]], str], ids: Sequence[int], start_char: int, end_char: int
) -> tuple[int, int] | None:
    """The half-open range of tokens that wrote characters [start_char, end_char) of decode(ids).

    Both ends come from a bisection over prefixes, 2 log2(len(ids)) + 1 decodes. A token that wrote
    only some of the characters belongs to the range. A byte-level prefix may end inside a
    character; that character counts as written by the token which completes it, and then all the
    tokens of its bytes belong to the range. Returns None for an empty span and for (-1, -1), which
    is what a Grade without an answer says. Raises ValueError for any other span outside the text.
    """
    if (start_char, end_char) == (-1, -1):
        return None
    text = decode(ids)
    if not 0 <= start_char <= end_char <= len(text):
        raise ValueError(
            f"characters {start_char} to {end_char} of a text of {len(text)}; expected 0 <= start "
            "<= end <= length; pass the decode function that made the text"
        )
    if start_char == end_char:
        return None
    end = _shortest(decode, ids, text, end_char)
    completes = _shortest(decode, ids, text, start_char + 1)
    return _first_byte(decode, ids, text, start_char, completes), end


def _shortest(
    decode: Callable[[Sequence[int]], str], ids: Sequence[int], text: str, n_chars: int
) -> int:
    """The length of the shortest prefix of ids whose text agrees with the first n_chars characters
    of `text`."""
    low = 0
    high = len(ids)
    while low < high:
        middle = (low + high) // 2
        if _written(decode(ids[:middle]), text) >= n_chars:
            high = middle
        else:
            low = middle + 1
    return low


def _first_byte(
    decode: Callable[[Sequence[int]], str], ids: Sequence[int], text: str, char: int, completes: int
) -> int:
    """The token that begins the character which token `completes` - 1 completes: step back over
    partial prefixes."""
    first = completes - 1
    while first > 0:
        prefix = decode(ids[:first])
        if _written(prefix, text) != char or len(prefix) <= char or not prefix.endswith(_PARTIAL):
            break
        first -= 1
    return first


def _written(prefix: str, text: str) -> int:
    """How many characters of `text` the prefix has finally written, the replacement sign of a cut
    one not counted."""
    if text.startswith(prefix):
        return len(prefix)
    for index, (written, final) in enumerate(zip(prefix, text, strict=False)):
        if written != final:
            return index
    return len(text)
