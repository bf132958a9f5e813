"""Patched states against a forward pass written out layer by layer, on every kind of decoder that
is known, shifted and not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from diffengine.engine.config import RunConfig
from diffengine.engine.decoding import patches
from diffengine.engine.decoding.patches import layers_of
from diffengine.engine.decoding.setup import Setup
from diffengine.engine.models.attention import NAME, packed_attention
from diffengine.engine.models.loading import MaskedDiffusionModel
from diffengine.engine.models.reading import LAYERS, forward_of
from diffengine.engine.prompts.prompt import Prompt
from diffengine.engine.prompts.start import Start
from diffengine.engine.prompts.steering import Patch
from diffengine.kernels.matrix_product import safe_rows

G = 8
LAST = 2
COMMON = {
    "vocab_size": 560,
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "is_causal": False,
    "use_cache": False,
    "attn_implementation": NAME,
}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "LlamaDecoderLayer": ("Llama", {}),
    "Qwen2DecoderLayer": ("Qwen2", {}),
    "Qwen3DecoderLayer": ("Qwen3", {"head_dim": 16}),
    "Qwen3MoeDecoderLayer": ("Qwen3Moe", {"head_dim": 16, **EXPERTS}),
}
CONFIG = RunConfig.of(
    model="test", steps=G, gen_length=G, block_length=G, save_logits="hidden", mean_hidden=False
)
NOT_WALKED = np.zeros(0, bool)
Packed = Callable[..., dict[str, dict[str, Any]]]
PromptsOf = Callable[..., list[Prompt]]


def test_every_known_layer_is_tried() -> None:
    assert set(KINDS) == LAYERS


def network_of(name: str, *, eager: bool = False) -> Any:
    """A network of three layers with random weights."""
    kind, changes = KINDS[name]
    transformers.AttentionInterface.register(NAME, packed_attention)
    attention = {"attn_implementation": "eager"} if eager else {}
    config = getattr(transformers, f"{kind}Config")(**COMMON | changes | attention)
    torch.manual_seed(3)
    network = getattr(transformers, f"{kind}ForCausalLM")(config).eval().requires_grad_(False)
    for parameter, weights in network.named_parameters():
        if "norm" not in parameter and not parameter.endswith("bias"):
            weights.mul_(4)
    return network


@pytest.fixture(params=[0, -1], ids=["level", "shifted"])
def offset(request: pytest.FixtureRequest) -> int:
    """Where the prediction of a position is read."""
    return int(request.param)


@pytest.fixture(params=sorted(KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    """The name of a stock layer."""
    return str(request.param)


@pytest.fixture
def model(kind: str, offset: int, random_model: MaskedDiffusionModel) -> MaskedDiffusionModel:
    """A model of that kind, with the tokenizer of the bundled one."""
    network = network_of(kind)
    family = replace(random_model.family, read_offset=offset)
    return replace(random_model, network=network, forward=forward_of(network), family=family)


def parents_of(
    model: MaskedDiffusionModel, packed: Packed, prompts: Sequence[Prompt]
) -> dict[str, np.ndarray]:
    """The canvases [S + 1, G] of a run, by problem."""
    blank = np.full((1, G), model.token_ids.mask)
    finished = packed(model, CONFIG, list(prompts))
    return {name: np.concatenate([blank, c["token"]]) for name, c in finished.items()}


def begun(prompt: Prompt, canvas: np.ndarray, step: int, *made: Patch) -> Prompt:
    return prompt._replace(
        start=Start(step, canvas[step], canvas[step:step], NOT_WALKED, patches=made)
    )


def same_bits(ours: np.ndarray, theirs: np.ndarray) -> bool:
    return np.array_equal(ours, theirs, equal_nan=ours.dtype.kind == "f")


@pytest.mark.parametrize("layer", range(LAST + 1))
def test_a_rows_own_states_change_nothing(
    layer: int, kind: str, model: MaskedDiffusionModel, packed: Packed, prompts_of: PromptsOf
) -> None:
    prompts = prompts_of(model, G)
    canvases = parents_of(model, packed, prompts)
    plain = packed(model, CONFIG, [begun(p, canvases[p.problem.id], 3) for p in prompts])
    patched = []
    for prompt in prompts:
        canvas = canvases[prompt.problem.id]
        own = Patch(layer, tuple(range(G)), tuple(canvas[3].tolist()))
        patched.append(begun(prompt, canvas, 3, own))
    finished = packed(model, CONFIG, patched)
    for name, columns in plain.items():
        for variable in ("token", "entropy", "logprob", "committed", "hidden"):
            ours, theirs = finished[name][variable], columns[variable]
            if kind == "Qwen3MoeDecoderLayer":
                # an expert's product has as many rows as chose it, and its last bits with them
                assert np.allclose(ours, theirs, atol=1e-4, equal_nan=True), variable
            else:
                assert same_bits(ours, theirs), variable


def test_a_row_so_short_that_a_product_would_differ(
    random_model: MaskedDiffusionModel,
    packed: Packed,
    prompts_of: PromptsOf,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Alone, with fewer tokens than a product needs whose bits do not depend on their number."""
    passed = []
    hidden = MaskedDiffusionModel.hidden

    def counted(model: MaskedDiffusionModel, token_ids: torch.Tensor, *more: Any) -> torch.Tensor:
        passed.append(len(token_ids))
        return hidden(model, token_ids, *more)

    monkeypatch.setattr(MaskedDiffusionModel, "hidden", counted)
    for length in (1, 2, 3, 5):
        prompt = prompts_of(random_model, G)[0]._replace(token_ids=tuple(range(20, 20 + length)))
        canvas = parents_of(random_model, packed, [prompt])[prompt.problem.id]
        assert length + G < safe_rows()
        plain = packed(random_model, CONFIG, [begun(prompt, canvas, 3)])[prompt.problem.id]
        for layer in (0, 1):
            own = Patch(layer, tuple(range(G)), tuple(canvas[3].tolist()))
            columns = packed(random_model, CONFIG, [begun(prompt, canvas, 3, own)])
            assert same_bits(columns[prompt.problem.id]["hidden"], plain["hidden"])
    assert passed and min(passed) >= safe_rows()


@torch.inference_mode()
def by_layers(kind: str, rows: list[list[int]], put: list[tuple[int, list[int]]]) -> torch.Tensor:
    """Final states [L, D] of the last of two `rows`, by transformers alone: behind the layers that
    `put` names, the states of the first stand at these tokens (counted from the row's end)."""
    network = network_of(kind, eager=True).model
    states = []
    for ids in rows:
        states.append(network.embed_tokens(torch.tensor([ids])))
    for number, layer in enumerate(network.layers):
        for row, ids in enumerate(rows):
            position = torch.arange(len(ids))[None]
            rope = network.rotary_emb(states[row], position)
            out = layer(states[row], attention_mask=None, position_embeddings=rope)
            states[row] = out[0] if isinstance(out, tuple) else out
        for at, tokens in put:
            if at == number:
                for token in tokens:
                    states[1][0, token] = states[0][0, token]
    final: torch.Tensor = network.norm(states[1])[0]
    return final


@pytest.mark.parametrize("layer", range(LAST + 1))
def test_a_donor_of_another_prompt(
    layer: int,
    kind: str,
    offset: int,
    model: MaskedDiffusionModel,
    packed: Packed,
    prompts_of: PromptsOf,
) -> None:
    prompts = prompts_of(model, G)
    canvases = parents_of(model, packed, prompts)
    target, source = prompts[0], prompts[3]
    donated = canvases[source.problem.id][6]
    where = (0, 3, 4, 7)
    patch = Patch(layer, where, tuple(donated.tolist()), source.token_ids)
    own = begun(target, canvases[target.problem.id], 2, patch)
    columns = packed(model, CONFIG, [*prompts[1:], own])[target.problem.id]

    rows = [
        [*source.token_ids, *donated.tolist()],
        [*target.token_ids, *canvases[target.problem.id][2].tolist()],
    ]
    states = by_layers(kind, rows, [(layer, [p - G for p in where])])
    first = len(rows[1]) - G + offset
    expected = states[first : first + G].numpy()
    assert np.allclose(columns["hidden"][2], expected, atol=2e-4)
    plain = by_layers(kind, rows, [])[first : first + G].numpy()
    assert np.abs(plain - expected).max() > 0.05


def test_all_positions_at_the_last_layer_are_the_donors(
    kind: str, offset: int, model: MaskedDiffusionModel, packed: Packed, prompts_of: PromptsOf
) -> None:
    """From a donor with the same prompt; where predictions are read one position before, the first
    is read in the prompt, which is not patched."""
    prompts = prompts_of(model, G)
    canvases = parents_of(model, packed, prompts)
    finished = packed(model, CONFIG, prompts)
    for prompt in prompts:
        canvas = canvases[prompt.problem.id]
        patch = Patch(LAST, tuple(range(G)), tuple(canvas[6].tolist()))
        columns = packed(model, CONFIG, [begun(prompt, canvas, 2, patch)])[prompt.problem.id]
        theirs = finished[prompt.problem.id]["hidden"]
        first = -offset
        assert np.allclose(columns["hidden"][2][first:], theirs[6][first:], atol=1e-4)
        if kind != "Qwen3MoeDecoderLayer":
            assert same_bits(columns["hidden"][2][first:], theirs[6][first:])
            assert same_bits(columns["hidden"][2][:first], theirs[2][:first])


def test_at_the_last_layer_other_positions_stay(
    kind: str, offset: int, model: MaskedDiffusionModel, packed: Packed, prompts_of: PromptsOf
) -> None:
    prompt = prompts_of(model, G)[0]
    canvas = parents_of(model, packed, [prompt])[prompt.problem.id]
    plain = packed(model, CONFIG, [begun(prompt, canvas, 2)])[prompt.problem.id]["hidden"][2]
    for layer in (LAST - 1, LAST):
        patch = Patch(layer, (4,), tuple(canvas[8].tolist()))
        hidden = packed(model, CONFIG, [begun(prompt, canvas, 2, patch)])[prompt.problem.id]
        differs = (np.abs(hidden["hidden"][2] - plain) > 1e-4).any(-1)
        assert differs[4 - offset]
        assert differs.sum() > 1 or layer == LAST


def test_several_patches_of_one_row(
    kind: str, offset: int, model: MaskedDiffusionModel, packed: Packed, prompts_of: PromptsOf
) -> None:
    prompts = prompts_of(model, G)
    canvases = parents_of(model, packed, prompts)
    prompt = prompts[1]
    canvas = canvases[prompt.problem.id]
    donor = tuple(canvas[7].tolist())
    made = [Patch(0, (1, 2), donor), Patch(1, (5,), donor), Patch(1, (0,), donor)]
    columns = packed(model, CONFIG, [prompts[0], begun(prompt, canvas, 2, *made)])
    rows = [[*prompt.token_ids, *donor], [*prompt.token_ids, *canvas[2].tolist()]]
    states = by_layers(kind, rows, [(0, [1 - G, 2 - G]), (1, [5 - G, 0 - G])])
    first = len(rows[1]) - G + offset
    assert np.allclose(
        columns[prompt.problem.id]["hidden"][2], states[first : first + G], atol=2e-4
    )


def test_the_rows_beside_it_keep_every_bit(
    model: MaskedDiffusionModel, packed: Packed, prompts_of: PromptsOf, kind: str
) -> None:
    prompts = prompts_of(model, G)
    canvases = parents_of(model, packed, prompts)
    plain = packed(model, CONFIG, prompts)
    mixed = list(prompts)
    for number in (0, 2):
        canvas = canvases[prompts[number].problem.id]
        patch = Patch(1, (0, 1, 2), tuple(canvas[8].tolist()))
        mixed[number] = begun(prompts[number], canvas, 0, patch)
    finished = packed(model, CONFIG, mixed)
    differing = 0
    for number, prompt in enumerate(prompts):
        ours, theirs = finished[prompt.problem.id], plain[prompt.problem.id]
        if number in (0, 2):
            differing += int(np.abs(ours["hidden"][0] - theirs["hidden"][0]).max() > 1e-3)
        elif kind != "Qwen3MoeDecoderLayer":
            for variable in ("token", "entropy", "hidden", "kl"):
                assert same_bits(ours[variable], theirs[variable]), variable
    assert differing == 2


def test_states_are_put_in_once_and_hooks_are_gone_afterwards(
    random_model: MaskedDiffusionModel,
    packed: Packed,
    prompts_of: PromptsOf,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prompts = prompts_of(random_model, G)
    canvases = parents_of(random_model, packed, prompts)
    asked = []
    donated = patches.donated

    def counted(*arguments: Any) -> torch.Tensor:
        asked.append(arguments[1])
        return donated(*arguments)

    monkeypatch.setattr(patches, "donated", counted)
    made = []
    for prompt in prompts[:3]:
        canvas = canvases[prompt.problem.id]
        made.append(begun(prompt, canvas, 2, Patch(0, (1,), tuple(canvas[8].tolist()))))
    packed(random_model, CONFIG, made, budget=1)
    assert len(asked) == 3
    layers = layers_of(random_model.network)
    assert layers is not None
    assert not any(layer._forward_hooks for layer in layers)


def test_the_step_may_be_one_that_the_schedule_leaves_out(
    random_model: MaskedDiffusionModel, packed: Packed, prompts_of: PromptsOf
) -> None:
    """The canvas of a step without a pass is that of the next one, which is patched."""
    config = CONFIG.changed(steps=2 * G)
    prompt = prompts_of(random_model, G)[0]
    blank = np.full((1, G), random_model.token_ids.mask)
    parent = packed(random_model, config, [prompt])[prompt.problem.id]
    canvas = np.concatenate([blank, parent["token"]])
    idle = int(np.flatnonzero(parent["performed"] == 0)[0])
    # Steps that commit nothing come last in LLaDA's schedule, so a fixed schedule with gaps is made.
    setup = Setup(random_model, config)
    assert idle == G
    setup.policy.performed = [step % 2 == 1 for step in range(2 * G)]
    setup.policy.commits_per_step = [step % 2 for step in range(2 * G)]  # type: ignore[attr-defined]
    setup.policy.performed_for = lambda key: setup.policy.performed  # type: ignore[method-assign]
    patch = Patch(0, tuple(range(G)), tuple(canvas[-1].tolist()))
    start = Start(
        4, np.full(G, random_model.token_ids.mask), canvas[4:4], NOT_WALKED, patches=(patch,)
    )
    hidden = []
    for given in (start, replace(start, patches=())):
        decoder = setup.decoder([prompt], budget=2048)
        (finished,) = decoder.decode(iter([prompt._replace(start=given)]))
        finished.ready()
        hidden.append(finished.columns["hidden"][5])
        assert np.isnan(finished.columns["hidden"][4]).all()
    assert np.abs(hidden[0] - hidden[1]).max() > 1e-3


def test_a_network_without_a_list_of_layers() -> None:
    network = torch.nn.Module()
    network.model = torch.nn.Module()
    assert layers_of(network) is None
