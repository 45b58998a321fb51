"""Entry point for `ray job submit ... -- python jobs/batch.py PATH... --data DIR`: the same as `risa batch`."""

import sys

from risa_ray.cli import main

sys.argv.insert(1, "batch")
main()
