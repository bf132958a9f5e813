"""Reading a run lazily, as one labelled view over all shards."""
