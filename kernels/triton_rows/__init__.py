"""The Triton kernels: one pass over each row of logits, and what merges its parts."""
