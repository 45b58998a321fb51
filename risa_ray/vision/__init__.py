"""Finding faces, following them and reading their apparent expression: plain Python, no Ray, no tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from risa_ray.vision.expressions import EXPRESSIONS

if TYPE_CHECKING:
    from risa_ray.vision.classifier import ExpressionClassifier
    from risa_ray.vision.detectors import Faces, create_detector

__all__ = ["EXPRESSIONS", "ExpressionClassifier", "Faces", "create_detector"]


def __getattr__(name: str) -> Any:
    # Torch takes seconds and 300 MB: the store and the driver need the names of the expressions, not the networks.
    if name == "ExpressionClassifier":
        from risa_ray.vision.classifier import ExpressionClassifier

        return ExpressionClassifier
    if name in ("Faces", "create_detector"):
        from risa_ray.vision import detectors

        return getattr(detectors, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
