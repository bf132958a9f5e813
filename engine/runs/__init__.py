"""A run from plan to last shard: what it is, on which device it decodes, who writes, what it will
cost."""
