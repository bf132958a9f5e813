"""The bundled model: its word problems, tokenizer, training, export, and the checkpoint itself."""
