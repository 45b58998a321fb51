"""Simulated stores with known truth, written through the store as a run would: for tests and benchmarks."""

from __future__ import annotations

from risa_ray.analytics.simulate.job import simulate
from risa_ray.analytics.simulate.truth import FOLDER, Truth, write_truth

__all__ = ["FOLDER", "Truth", "simulate", "write_truth"]
