"""A process tells truly what it holds, and memory that is freed goes back to the system."""

from __future__ import annotations

import subprocess
import sys

CHURN = """
from risa_ray.streaming.process import give_memory_back, process_use
bytearray(30_000_000)  # what was freed once counts as small from then on, and is not given back by itself
give_memory_back()
before = process_use().resident_mb
kept, pictures = [], []
for number in range(400):  # pictures that come and go between small things that stay
    pictures.append(bytearray(700_000))
    kept.append(bytes(1000))
del pictures
held = process_use().resident_mb
give_memory_back()
print(held - before, process_use().resident_mb - before)
"""


def test_memory_of_pictures_goes_back() -> None:
    told = subprocess.run([sys.executable, "-c", CHURN], capture_output=True, text=True, check=True).stdout
    held, after = map(float, told.split())
    assert held > 250, "the test shows what it should: by itself it stays"
    assert after < 10
