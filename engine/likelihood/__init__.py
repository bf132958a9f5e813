"""How probable a model finds given answer tokens."""
