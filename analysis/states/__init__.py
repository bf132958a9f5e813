"""Hidden states of two steps or two sets of positions, compared and mapped."""
