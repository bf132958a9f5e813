"""What branches say of a run: how much of the answer is decided at a step, asked of the model
itself."""
