"""Entry point for `ray job submit ... -- python jobs/train.py CONFIG [--images PATH] [--out DIR]`: `risa train`."""

import sys

from risa_ray.cli import main

sys.argv.insert(1, "train")
main()
