"""`token_span` against the slow truth: which tokens, when left out, change the bytes of the
answer."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from diffengine.engine.answers.span import token_span
from diffengine.engine.models.bundled.generator import word_problems

SPECIAL = b""


def decoder(vocabulary: Sequence[bytes]):
    """A byte-level tokenizer's decode over `vocabulary`; an empty entry is a special token that is
    left out."""
    return lambda ids: b"".join(vocabulary[i] for i in ids).decode("utf-8", errors="replace")


def by_bytes(
    vocabulary: Sequence[bytes], ids: Sequence[int], start: int, end: int
) -> tuple[int, int]:
    """The truth for text that is valid UTF-8: byte offsets of the characters, then the tokens that
    hold those bytes."""
    text = b"".join(vocabulary[i] for i in ids).decode()
    first, last = len(text[:start].encode()), len(text[:end].encode())
    at, touched = 0, []
    for number, i in enumerate(ids):
        if at < last and at + len(vocabulary[i]) > first and vocabulary[i]:
            touched.append(number)
        at += len(vocabulary[i])
    return touched[0], touched[-1] + 1


@pytest.mark.parametrize(
    "pieces, answer, expected",
    [
        ([b"so ", b"7", b"2", b"."], "72", (1, 3)),
        ([b"so ", b"72."], "72", (1, 2)),
        ([b"so 7", b"2."], "72", (0, 2)),
        ([SPECIAL, b"7", SPECIAL, b"2", SPECIAL], "72", (1, 4)),
        ([b"72=", b"72"], "72", (1, 2)),
        ([b"\xe2", b"\x88", b"\x92", b"7"], "\u22127", (0, 4)),
        ([b"a", b"b\xe2", b"\x88\x92", b"7"], "\u22127", (1, 4)),
        ([b"a", b"b\xe2", b"\x88\x92", b"7"], "7", (3, 4)),
        ([b"\xf0\x9f", b"\x99\x82", b"5"], "5", (2, 3)),
        ([b"5", b"\xf0\x9f", b"\x99", b"\x82"], "5", (0, 1)),
        ([b"\xff", b"\xe2", b" ", b"5"], "5", (3, 4)),
        ([b"\xf0", b"\xf0", b"5", b"\xe2"], "5", (2, 3)),
    ],
)
def test_by_hand(pieces, answer, expected):
    decode, ids = decoder(pieces), range(len(pieces))
    start = decode(ids).rfind(answer)
    assert token_span(decode, ids, start, start + len(answer)) == expected


@pytest.mark.parametrize("seed", range(20))
def test_random_cuts_of_random_text_agree_with_the_byte_count(seed):
    rng = random.Random(seed)
    text = "".join(rng.choice("ab 72\u2212é🙂") for _ in range(40))
    raw, vocabulary = text.encode(), []
    while raw:
        cut = rng.randint(0, 4)
        vocabulary.append(raw[:cut])
        raw = raw[cut:]
    ids = range(len(vocabulary))
    for _ in range(40):
        start = rng.randrange(len(text))
        end = rng.randint(start + 1, len(text))
        assert token_span(decoder(vocabulary), ids, start, end) == by_bytes(
            vocabulary, ids, start, end
        )


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """A byte-level BPE whose merges join digits, the case in which searching for the answer's ids
    goes wrong."""
    built = Tokenizer(models.BPE())
    built.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    built.decoder = decoders.ByteLevel()
    stream = word_problems("bpe", held_out=True)
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<|end|>"],
        show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    built.train_from_iterator((next(stream).solution for _ in range(300)), trainer)
    return built


@pytest.mark.parametrize("after", ["", ".", " eggs", "\u2212 🙂", "0"])
def test_a_real_tokenizer_with_special_tokens_between(tokenizer, after):
    rng, stream = random.Random(0), word_problems("spans", held_out=True)
    for _ in range(30):
        problem = next(stream)
        text = problem.solution + after
        ids = tokenizer.encode(text).ids
        for _ in range(3):
            ids.insert(rng.randint(0, len(ids)), 0)
        start = len(problem.solution) - len(str(problem.answer))
        end = len(problem.solution)
        first, last = token_span(tokenizer.decode, ids, start, end)
        assert text[start:end] in tokenizer.decode(ids[first:last])
        assert (
            len(tokenizer.decode(ids[:first])) <= start and len(tokenizer.decode(ids[:last])) >= end
        )
        assert (
            len(tokenizer.decode(ids[: first + 1])) > start
            and len(tokenizer.decode(ids[: last - 1])) < end
        )


def test_few_decodes():
    calls = []

    def decode(ids: Sequence[int]) -> str:
        calls.append(len(ids))
        return "x" * len(ids)

    assert token_span(decode, range(1024), 500, 510) == (500, 510)
    assert len(calls) <= 25


def test_empty_span_and_span_outside_the_text():
    decode = decoder([b"a", b"b"])
    assert token_span(decode, [0, 1], 1, 1) is None
    assert token_span(decode, [], 0, 0) is None
    assert token_span(decode, [0, 1], -1, -1) is None
    for start, end in [(0, 3), (-1, 1), (2, 1)]:
        with pytest.raises(ValueError, match="of a text of 2"):
            token_span(decode, [0, 1], start, end)
