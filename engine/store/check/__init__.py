"""Finding damage, setting it aside, and what is already done."""
