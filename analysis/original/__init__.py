"""The original suite's own files, written from a run."""
