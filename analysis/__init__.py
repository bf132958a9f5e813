"""From a run directory to results: quantities, spikes, S-curve, patterns, summary, plots. Needs no
model and no GPU."""
