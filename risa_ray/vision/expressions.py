"""The eight apparent expressions and what is computed from their probabilities."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

EXPRESSIONS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
"""The FER+ order (Barsoum et al. 2016)."""

_HAPPINESS = EXPRESSIONS.index("happiness")
_NEGATIVE = [EXPRESSIONS.index(e) for e in ("sadness", "anger", "disgust", "fear", "contempt")]


def valence(probabilities: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Valence in -1..1, float32 (n,), of calibrated probabilities (n, 8).

    p(happiness) minus the largest of the five negative expressions; surprise has no sign (after FaceReader's
    definition).
    """
    p = np.asarray(probabilities, np.float32).reshape(-1, len(EXPRESSIONS))
    return np.asarray(p[:, _HAPPINESS] - p[:, _NEGATIVE].max(axis=1), np.float32)
