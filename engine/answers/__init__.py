"""Finding the answer in a text, reading its value exactly, and judging it."""
