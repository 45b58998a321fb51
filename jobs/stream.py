"""Entry point for `ray job submit ... -- python jobs/stream.py CONFIG [--data DIR] [--events FILE]`: `risa stream`."""

import sys

from risa_ray.cli import main

sys.argv.insert(1, "stream")
main()
