"""From a problem to the tokens that the model sees, through the checkpoint's own chat template."""
