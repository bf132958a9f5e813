"""The bundled models: their word problems, tokenizer, training, export, and the checkpoints
themselves."""

from pathlib import Path

BUNDLED = Path(__file__).parent / "checkpoint"
"""The one that attends fully, in LLaDA's format."""

BUNDLED_BLOCK = Path(__file__).parent / "block_checkpoint"
"""The one that attends block by block, in SDAR's format."""

NAMES = {"bundled": BUNDLED, "bundled-block": BUNDLED_BLOCK}
"""What a run calls them."""


def bundled_name(path: Path) -> str | None:
    """What a run calls the model in this directory, if it is one of them."""
    for name, directory in NAMES.items():
        if path == directory:
            return name
    return None
