"""Branches: continuations of the states of a run, as they were or changed."""
