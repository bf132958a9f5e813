"""Quantities of a whole run: what its curves and verdicts amount to."""
