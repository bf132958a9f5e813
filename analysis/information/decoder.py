"""A lower bound of the information of many features about a label: what a cross-fitted decoder
gains over guessing.

For any q, I(X; Y) >= H(Y) - CE(q) where q is scored on rows it has not seen (Barber and Agakov
2003; V-information, Xu et al. 2020, arXiv:2002.10689). With the decoder q and the label frequencies
q0 of decoding.py it is <log q(y|x) - log q0(y)>. Held out it is low rather than high; it misses
what is not linear in the features.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .curve import LINEAR_SCORE, Curve, Point
from .decoding import FOLDS, decode
from .estimator import LABELS, Estimator
from .sample import NATS, Estimate, label_entropy, labelled
from .step_sample import StepSample
from .uncertainty import clustered_stderr


@dataclass(frozen=True)
class DecoderOptions:
    """`folds` of the cross-fit; rows of one of `groups` [n] share a fold."""

    folds: int = FOLDS
    groups: np.ndarray | None = None


def decoder(x: np.ndarray, y: np.ndarray, options: DecoderOptions, *, seed: int = 0) -> Estimate:
    """Lower bound of I(x; y) in bits for x [n] or [n, d], labels y [n]."""
    sample = labelled(x, y)
    n, dimension = sample.x.shape
    groups = sample.of_kept(options.groups)
    decoded = decode(sample.x, sample.codes, seed=seed, folds=options.folds, groups=groups)
    bits = float(decoded.gain(sample.codes).mean()) / NATS
    ceiling = label_entropy(sample.codes) / NATS
    return Estimate(bits, n, 0, dimension, ceiling, sample.warnings)


def decoder_point(sample: StepSample) -> Point:
    """The bound for many features; its standard error takes the fitted decoders as given."""
    gain = sample.decoded.gain(sample.y)
    stderr = clustered_stderr(gain, sample.groups)
    return Point(float(gain.mean()), stderr, sample.linear_null, False)


DECODER = Estimator(
    decoder,
    method="H(Y) - CE of a cross-fitted ridge logistic regression",
    source="Barber and Agakov 2003; Xu et al. 2020",
    caution="what is not linear in x: a lower bound",
    targets=(LABELS,),
    options=DecoderOptions,
    curves=(
        Curve(
            "decoder",
            "I(correct; state at the answer slot), lower bound by a cross-fitted decoder",
            features="state",
            point=decoder_point,
            tested_by=LINEAR_SCORE,
            order=5,
        ),
    ),
)
