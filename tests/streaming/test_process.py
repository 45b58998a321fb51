"""A process tells truly what it holds, and memory that is freed goes back to the system."""

from __future__ import annotations

import subprocess
import sys

CHURN = """
import random
from risa_ray.streaming.process import keep_memory_flat, give_memory_back, process_use
keep_memory_flat()
process_use()
give_memory_back()
before = process_use().resident_mb
kept, pictures = [], []
for number in range(400):  # pictures that come and go between small things that stay
    pictures.append(bytearray(700_000))
    kept.append(bytes(1000))
held = process_use().resident_mb
del pictures
print(before, held, process_use().resident_mb)
"""


def test_memory_of_pictures_goes_back() -> None:
    before, held, after = map(
        float, subprocess.run([sys.executable, "-c", CHURN], capture_output=True, text=True, check=True).stdout.split()
    )
    assert held - before > 250
    assert after - before < 10
