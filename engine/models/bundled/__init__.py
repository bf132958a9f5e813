"""The bundled model: its word problems, tokenizer, training, export, and the checkpoint itself."""

from pathlib import Path

BUNDLED = Path(__file__).parent / "checkpoint"
