"""Benchmarks: one file per subject, each comparing us with named peers in one run. Nothing imports
this package."""
