"""Model families, by the architecture that a checkpoint's config.json names. One file per family,
one row here."""

from __future__ import annotations

from typing import Any

from ..registry import Registry

FAMILIES = Registry(
    "model architecture",
    {
        "A2DLlamaLMHeadModel": "diffengine.engine.models.a2d:A2D_LLAMA",
        "A2DQwen2LMHeadModel": "diffengine.engine.models.a2d:A2D_QWEN2",
        "A2DQwen3LMHeadModel": "diffengine.engine.models.a2d:A2D_QWEN3",
        "_A2DQwen3LMHeadModel": "diffengine.engine.models.a2d:OPDLM",
        "DreamModel": "diffengine.engine.models.dream:DREAM",
        "Fast_dLLM_QwenForCausalLM": "diffengine.engine.models.fast_dllm_v2:FAST_DLLM_V2",
        "ILLaDAForCausalLM": "diffengine.engine.models.illada:ILLADA",
        "LLaDA2MoeModelLM": "diffengine.engine.models.llada2:LLADA2",
        "LLaDAModelLM": "diffengine.engine.models.llada:LLADA",
        "LLaDAMoEModel": "diffengine.engine.models.llada_moe:LLADA_MOE",
        "LLaDAMoEModelLM": "diffengine.engine.models.llada_moe:LLADA_MOE",
        "ModernBertForMaskedLM": "diffengine.engine.models.modern_bert:MODERN_BERT",
        "NemotronLabsDiffusionModel": "diffengine.engine.models.nemotron:NEMOTRON",
        "RND1LM": "diffengine.engine.models.rnd1:RND1",
        "SDARForCausalLM": "diffengine.engine.models.sdar:SDAR",
        "SDARMoeForCausalLM": "diffengine.engine.models.sdar:SDAR_MOE",
    },
    group="diffengine.families",
)


def __getattr__(name: str) -> Any:
    if name in ("load_model", "MaskedDiffusionModel"):
        from . import loading

        return getattr(loading, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
