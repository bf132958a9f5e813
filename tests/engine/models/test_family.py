"""A family from outside loads through its entry point, what is no family is refused with a sentence,
and no other file knows what a family calls its things."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from diffengine.engine.cli.command_line import expected_failure, group
from diffengine.engine.models import FAMILIES
from diffengine.engine.models.checkpoint import original_name, rename
from diffengine.engine.models.family import CheckpointError, TokenIds
from diffengine.engine.models.llada import COVERED, LLADA
from diffengine.engine.models.loading import MaskedDiffusionModel, load_model
from diffengine.engine.problems.read import Problem
from diffengine.engine.prompts.chat_template import TemplateError
from diffengine.engine.prompts.prompt import prompt_text
from diffengine.engine.registry import PluginError

ROOT = Path(__file__).resolve().parents[3]


def test_an_installed_packages_family_loads_and_is_listed(
    shifted_model: MaskedDiffusionModel,
) -> None:
    assert shifted_model.read_offset == -1
    assert shifted_model.architecture == "ShiftedModel"
    assert type(shifted_model.network).__name__ == "Qwen2ForCausalLM"
    assert shifted_model.token_ids == TokenIds(mask=5, eos=1, eot=4)
    row = FAMILIES.row("ShiftedModel")
    assert (row.package, row.version) == ("shifted-family", "1.5")
    listed = CliRunner().invoke(group, ["list"])
    assert "ShiftedModel" in listed.output


def test_a_checkpoint_without_a_template_gets_its_familys(
    shifted_model: MaskedDiffusionModel, bundled_model: MaskedDiffusionModel
) -> None:
    problem = Problem(id="p", question="2 + 2?", answer="4")
    assert prompt_text(problem, shifted_model, style="chat") == "Q: 2 + 2?\nA:"
    assert prompt_text(problem, shifted_model, style="raw") == "2 + 2? Answer:"
    shifted_model.tokenizer.chat_template = "{{ messages[0]['content'] | upper }}!"
    assert prompt_text(problem, shifted_model, style="chat") == "2 + 2?!"


def test_a_familys_broken_template_is_not_said_to_be_the_checkpoints(
    plugin: Any, shifted_checkpoint: Callable[..., Path]
) -> None:
    plugin.offer(plugin.SOURCE.replace("messages[-1]", "messages["), ShiftedModel="SHIFTED")
    model = load_model(shifted_checkpoint(), device="cpu")
    problem = Problem(id="p", question="2 + 2?", answer="4")
    with pytest.raises(TemplateError, match=r"has none, so its family's is used.*syntax error"):
        prompt_text(problem, model, style="chat")


def instead(old: str, new: str) -> Callable[[str], str]:
    """Writes `new` in the place of `old` into a family's source."""

    def change(source: str) -> str:
        assert old in source
        return source.replace(old, new)

    return change


REFUSED: dict[str, tuple[Callable[[str], str], str]] = {
    "no family": (
        lambda source: "SHIFTED = 5",
        "is a int, expected a diffengine.engine.models.family.Family",
    ),
    "a class": (lambda source: "class SHIFTED: pass", "is a type, expected a diffengine"),
    "nothing": (lambda source: "", "has no 'SHIFTED'"),
    "will not import": (
        lambda source: "import nothing_of_that_name",
        "cannot be imported (ModuleNotFoundError",
    ),
    "another attention": (
        instead("read_offset=-1,", "attention='block-causal',"),
        "has attention 'block-causal', expected 'full'",
    ),
    "another offset": (
        instead("read_offset=-1", "read_offset=1"),
        "has read_offset 1, expected 0 or -1",
    ),
    "no mask": (
        instead('TokenName(text="<|mdm_mask|>")', "TokenName(optional=True)"),
        "does not say where its mask is found",
    ),
    "a kind that is no family": (
        instead("read_offset=-1,", "read_offset=-1, kind=lambda directory, config: 5,"),
        "is a int, expected a diffengine.engine.models.family.Family",
    ),
    "a kind that cannot be run": (
        lambda source: (
            source.replace("read_offset=-1,", "read_offset=-1, kind=lambda _, c: OTHER,")
            + "\nfrom dataclasses import replace\nOTHER = replace(SHIFTED, attention='blocks')\n"
        ),
        "has attention 'blocks' and blocks None; expected Blocks(...) where",
    ),
    "its kinds fail": (
        instead("read_offset=-1,", "read_offset=-1, kind=lambda _, config: config['kind'],"),
        "fails on {path}: KeyError: 'kind'; report it to its authors",
    ),
    "no such stock class": (
        instead("Qwen2ForCausalLM", "Qwen2000ForCausalLM"),
        "stock class 'Qwen2000ForCausalLM' is not in transformers",
    ),
    "its code fails": (
        instead("config[name]", "config[name + 's']"),
        "fails on {path}: KeyError: 'vocab_sizes'; report it to its authors",
    ),
    "its arguments": (
        instead('"rope_parameters"]', '"is_causal"]'),
        "fails on {path}: TypeError",
    ),
    "its patterns": (
        instead("renames={}", "renames={'(': ''}"),
        "fails on {path}: error: missing )",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_run_is_one_sentence(
    plugin: Any, shifted_checkpoint: Callable[..., Path], name: str
) -> None:
    change, says = REFUSED[name]
    path = shifted_checkpoint()
    plugin.offer(change(plugin.SOURCE), ShiftedModel="SHIFTED")
    with pytest.raises(PluginError) as caught:
        load_model(path, device="cpu")
    said = str(caught.value)
    assert says.replace("{path}", str(path)) in said
    assert "\n" not in said
    assert expected_failure(caught.value) == 2


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"hidden_size": "64"}, r"hidden_size must be a int, got '64'"),
        ({"eos_token_id": None}, r"config\.json: eos_token_id must be a int, got None"),
        ({"eos_token_id": 7}, r"eos_token_id 7, but tokenizer\.json has <\|endoftext\|> = 1"),
    ],
    ids=str,
)
def test_what_a_family_refuses_names_the_directory(
    plugin: Any, shifted_checkpoint: Callable[..., Path], changes: dict[str, object], says: str
) -> None:
    plugin.offer(ShiftedModel="SHIFTED")
    path = shifted_checkpoint(**changes)
    with pytest.raises(CheckpointError, match=says) as caught:
        load_model(path, device="cpu")
    assert str(path) in str(caught.value)


def test_a_token_that_the_tokenizer_lacks_is_named(
    plugin: Any, shifted_checkpoint: Callable[..., Path]
) -> None:
    plugin.offer(plugin.SOURCE.replace("<|mdm_mask|>", "<|blank|>"), ShiftedModel="SHIFTED")
    path = shifted_checkpoint()
    with pytest.raises(CheckpointError, match=r"tokenizer\.json: has no token <\|blank\|>"):
        load_model(path, device="cpu")
    plugin.offer(plugin.SOURCE.replace("<|mdm_mask|>", "<|endoftext|>"), ShiftedModel="SHIFTED")
    with pytest.raises(CheckpointError, match=r"<\|endoftext\|> 1 is also eos or pad"):
        load_model(path, device="cpu")


def test_a_checkpoint_names_no_module_to_import(
    plugin: Any, random_checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    witness = tmp_path / "imported"
    plugin.offer(f"open({str(witness)!r}, 'w')\nSHIFTED = 5")
    path = random_checkpoint(architectures=["shifted_family:SHIFTED"])
    with pytest.raises(CheckpointError, match="it is unknown here"):
        load_model(path, device="cpu")
    assert not witness.exists()


def test_original_names_are_undone_renames() -> None:
    model = json.loads((ROOT / "engine/models/bundled/checkpoint/config.json").read_text())
    import transformers

    config = transformers.LlamaConfig(**LLADA.stock_config(model))
    names = list(transformers.LlamaForCausalLM(config).state_dict())
    originals = [original_name(name, LLADA.renames) for name in names]
    assert [rename(name, LLADA.renames) for name in originals] == names
    assert not set(originals) & set(names)
    assert "model.transformer.blocks.0.q_proj.weight" in originals
    assert original_name("a.b", {r"x\d+": "a"}) == "a.b"  # cannot be undone
    chain = {r"^first\.": "second.", r"^second\.x": "third"}
    assert rename("first.x", chain) == "third"
    assert original_name("third", chain) == "first.x"


def words_of(path: Path) -> set[str]:
    """Every word in the strings of a file that are no docstrings."""
    tree = ast.parse(path.read_text())
    words: set[str] = set()
    bare = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in bare:
            words |= set(re.findall(r"\w+", node.value))
    return words


def test_only_lladas_file_names_lladas_tensors_tokens_and_settings() -> None:
    """Nor does any file of the engine that loads, prompts or decodes."""
    tensors = {part for name in LLADA.renames for part in re.findall(r"\w\w+", name)}
    stock = {part for name in LLADA.renames.values() for part in re.findall(r"\w\w+", name)}
    tokens = LLADA.tokens
    named = [tokens.mask, tokens.eos, tokens.eot, tokens.pad]
    texts = {word for name in named for word in re.findall(r"\w\w+", name.text or "")}
    settings = {*COVERED, "d_model", "n_layers", "n_heads", "mlp_hidden_size", "weight_tying"}
    keys = {name.key for name in named if name.key}
    # Blocks are what other models attend by, too.
    own = ((tensors - stock) | texts | settings) - {"blocks"}
    assert {"wte", "ff_out", "mdm_mask", "eot_id", "block_type", "rope"} <= own
    loading = sorted((ROOT / "engine/models").glob("*.py"))
    families = {f"{FAMILIES.row(name).target.split(':')[0].split('.')[-1]}.py" for name in FAMILIES}
    assert "llada.py" in families
    # What several families share speaks transformers' names, of which LLaDA's config has three.
    shared = {"config_keys.py", "stock_decoder.py"}
    stock_keys = {"eos_token_id", "pad_token_id", "rope_scaling"}
    for name in shared:
        assert words_of(ROOT / "engine/models" / name) & (own | keys) <= stock_keys
    others = [path for path in loading if path.name not in families | shared]
    others += sorted((ROOT / "engine/prompts").glob("*.py"))
    others += sorted((ROOT / "engine/decoding").glob("*.py"))
    others += sorted((ROOT / "engine/likelihood").glob("*.py"))
    assert len(others) > 20
    assert {p.name: words_of(p) & (own | keys) for p in others if words_of(p) & (own | keys)} == {}
    assert words_of(ROOT / "engine/models/llada.py") >= own
