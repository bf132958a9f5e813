"""Writing once: shards, their manifest, sums of hidden states."""
