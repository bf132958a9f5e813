"""The engine: problems in, a run directory out. Models, samplers, packed decoding, the store, the
command line."""
