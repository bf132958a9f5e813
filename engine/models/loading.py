"""Load a checkpoint directory of any supported family into a stock transformers class, made
bidirectional.

Nothing in the directory is executed, nothing is asked on stdin, nothing is fetched. Every tensor of
the checkpoint is accounted for before the weights are read. Shapes: T packed tokens, D features, V
rows of the head.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from . import FAMILIES, reading
from .attention import NAME, Packing, packed_attention
from .checkpoint import check_tensors, fingerprint, read_json, tensor_entries, weight_files
from .family import CheckpointError, Family, TokenIds, required
from .flops import network_flops
from .host_memory import keep_freed_memory
from .known_families import hub_hint, looks_like_hub_name, unsupported
from .reading import Reads

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, repr=False)
class MaskedDiffusionModel:
    """A loaded model: `hidden` runs the backbone over a packed batch, `head_weight` [V, D] projects
    what is wanted."""

    network: Any
    tokenizer: Any
    token_ids: TokenIds
    n_candidates: int
    max_length: int
    path: Path
    architecture: str
    fingerprint: str
    sampler_defaults: dict[str, Any]

    @property
    def head_weight(self) -> Tensor:
        return self.network.lm_head.weight

    @property
    def dtype(self) -> torch.dtype:
        return self.head_weight.dtype

    @property
    def device(self) -> torch.device:
        return self.head_weight.device

    def __repr__(self) -> str:
        rows, features = self.head_weight.shape
        shape = (
            f"{rows} x {features} head, {str(self.dtype).removeprefix('torch.')} on {self.device}"
        )
        return f"<MaskedDiffusionModel {self.architecture} at {self.path}: {shape}>"

    def logits_dtype(self, name: str) -> torch.dtype:
        """What the run's setting `logits_dtype` means for this model: "model" is its own dtype."""
        return DTYPES.get(name, self.dtype)

    @torch.inference_mode()
    def hidden(self, token_ids: Tensor, positions: Tensor, packing: Packing) -> Tensor:
        """Final hidden states [T, D] (after the last norm) of packed token ids [T] at RoPE
        positions [T]."""
        out = self.network.model(
            token_ids[None], position_ids=positions[None], packing=packing, use_cache=False
        )
        return out.last_hidden_state[0]

    @property
    def leaves_out_unread(self) -> bool:
        """Whether `hidden_read` computes less than `hidden`."""
        return reading.is_known(self.network)

    def hidden_read(
        self, token_ids: Tensor, positions: Tensor, packing: Packing, reads: Reads
    ) -> Tensor:
        """Of the states that `hidden` gives, those [R, D] that are read; the rest is left out where
        it can be.

        Tokens outside of `reads.read` must be those of the call before with the same `reads`.
        """
        if not self.leaves_out_unread:
            return self.hidden(token_ids, positions, packing)[reads.read]
        return reading.read(self.network, token_ids, positions, packing, reads)

    def flops_read(self, reads: Reads) -> int:
        """FLOPs of the last call of `hidden_read` with these `reads`, padding not counted."""
        if not self.leaves_out_unread:
            return network_flops(self.network.config, reads.lengths)
        renewed = min(reads.kept.renewed, sum(reads.lengths))
        return network_flops(
            self.network.config, reads.lengths, asked=reads.counts, renewed=renewed
        )


def load_model(
    path: str | Path,
    *,
    device: str | torch.device | None = None,
    dtype: str | None = None,
    weights: bool = True,
) -> MaskedDiffusionModel:
    """Load the checkpoint in directory `path`.

    `device` defaults to CUDA where there is one; `dtype` ("float32", "bfloat16") to bfloat16 on
    CUDA and float32 on a CPU. Without `weights` the model has shapes and a tokenizer but cannot
    run: for a process that only hands out work. Raises CheckpointError naming file and field when
    the directory is missing, incomplete, damaged or unsupported.
    """
    directory = Path(path)
    config = _read_config(directory)
    family = _family_of(config, directory)
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    dtype = dtype or ("bfloat16" if device.type == "cuda" else "float32")
    if dtype not in DTYPES:
        raise CheckpointError(f"dtype {dtype!r} is not supported; use one of {', '.join(DTYPES)}")
    try:
        arguments = family.stock_config(config)
    except CheckpointError as error:
        raise CheckpointError(f"{directory}/{error}") from None
    files = weight_files(directory)
    if weights and device.type == "cpu":
        keep_freed_memory()
    network = _load_network(
        directory, family, arguments, files, device if weights else None, DTYPES[dtype]
    )
    tokenizer = _load_tokenizer(directory)
    generation = directory / "generation_config.json"
    return MaskedDiffusionModel(
        network,
        tokenizer,
        _token_ids(config, tokenizer, directory),
        family.n_candidates(config),
        arguments["max_position_embeddings"],
        directory,
        config["architectures"][0],
        fingerprint(directory, files),
        read_json(generation) if generation.is_file() else {},
    )


def _read_config(directory: Path) -> dict[str, Any]:
    if not directory.exists():
        hub = f"; {hub_hint(str(directory))}" if looks_like_hub_name(str(directory)) else ""
        raise CheckpointError(
            f"{directory}: no such directory; give --model a checkpoint directory{hub}"
        )
    if not directory.is_dir():
        raise CheckpointError(
            f"{directory}: is a file; give --model the directory that holds config.json"
        )
    return read_json(directory / "config.json")


def _family_of(config: dict[str, Any], directory: Path) -> Family:
    names = config.get("architectures")
    if not (isinstance(names, list) and names and isinstance(names[0], str)):
        raise CheckpointError(
            f"{directory}/config.json: architectures must name a model class, got {names!r}"
        )
    if names[0] not in FAMILIES:
        raise CheckpointError(f"{directory}/config.json: {unsupported(names[0], FAMILIES)}")
    return FAMILIES.load(names[0])


def _load_network(
    directory: Path,
    family: Family,
    arguments: dict[str, Any],
    files: list[Path],
    device: torch.device | None,
    dtype: torch.dtype,
) -> Any:
    import transformers

    transformers.AttentionInterface.register(NAME, packed_attention)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    stock = getattr(transformers, family.stock_class)
    config = stock.config_class(
        **arguments, is_causal=False, use_cache=False, attn_implementation=NAME
    )
    with torch.device("meta"):
        empty = stock(config)
    expected = {name: tuple(t.shape) for name, t in empty.state_dict().items()}
    entries = tensor_entries(files)
    if arguments["tie_word_embeddings"]:
        expected = {name: shape for name, shape in expected.items() if name != "lm_head.weight"}
        entries = {
            name: e for name, e in entries.items() if name != "model.transformer.ff_out.weight"
        }
    check_tensors(entries, expected, family.renames)
    if device is None:
        return empty.to(dtype)
    network, info = stock.from_pretrained(
        directory,
        config=config,
        key_mapping=dict(family.renames),
        dtype=dtype,
        attn_implementation=NAME,
        output_loading_info=True,
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=False,
    )
    left = {kind: sorted(map(str, keys)) for kind, keys in info.items() if keys}
    if left:
        raise CheckpointError(f"{directory}: not every tensor was loaded as it is: {left}")
    if family.fp32_rope:
        network.model.rotary_emb = _fp32_rope(network)
    network = network.eval().requires_grad_(False).to(device)
    if network.model.rotary_emb.inv_freq.dtype != torch.float32:
        raise CheckpointError(
            "rotary inv_freq is not float32: its rounding would shift phases by radians; report "
            "this"
        )
    return network


def _fp32_rope(network: Any) -> torch.nn.Module:
    base = type(network.model.rotary_emb)

    class Float32Rope(base):  # type: ignore[misc, valid-type]
        """cos and sin stay float32, as LLaDA's rope_full_precision has them; queries and keys
        promote to them."""

        def forward(self, x: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
            return super().forward(x.new_empty((), dtype=torch.float32), position_ids)

    return Float32Rope(network.config)


def _load_tokenizer(directory: Path) -> Any:
    from transformers import PreTrainedTokenizerFast

    for name in ("tokenizer.json", "tokenizer_config.json"):
        read_json(directory / name)
    # The class is named outright: AutoTokenizer would ask on stdin whether to run the checkpoint's
    # own code.
    tokenizer = PreTrainedTokenizerFast.from_pretrained(
        str(directory), local_files_only=True, trust_remote_code=False
    )
    if not tokenizer.chat_template:
        tokenizer.chat_template = None
    return tokenizer


def _token_ids(config: dict[str, Any], tokenizer: Any, directory: Path) -> TokenIds:
    mask = required(config, "mask_token_id")
    eos = required(config, "eos_token_id")
    known = tokenizer.convert_tokens_to_ids("<|mdm_mask|>")
    if known not in (None, mask, tokenizer.unk_token_id):
        raise CheckpointError(
            f"{directory}: config.json says mask_token_id {mask}, but tokenizer.json has "
            f"<|mdm_mask|> = {known}"
        )
    if mask in (eos, config.get("pad_token_id")):
        raise CheckpointError(
            f"{directory}/config.json: mask_token_id {mask} is also eos or pad; they must differ"
        )
    eot = tokenizer.convert_tokens_to_ids("<|eot_id|>")
    return TokenIds(mask, eos, None if eot in (None, tokenizer.unk_token_id) else eot)
