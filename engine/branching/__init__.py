"""What follows a stored state: continuations of a run's decodings, as they were or changed."""
