"""Runs side by side, and problem by problem where they share them."""
