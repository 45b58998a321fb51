"""Entry point for `ray job submit ... -- python jobs/stream.py CONFIG [--data DIR] [--events FILE]`."""

import argparse
import sys
from pathlib import Path

from risa_ray.cli import run_stream, with_data
from risa_ray.config import load_config
from risa_ray.errors import InputError

parser = argparse.ArgumentParser(description="Stream the cameras of a config.")
parser.add_argument("config", type=Path)
parser.add_argument("--data", help="folder or URL of the tables; overrides the config's")
parser.add_argument("--events", help="JSON lines of figures and alerts: a file, or - for the job's log")
arguments = parser.parse_args()
try:
    sys.exit(run_stream(with_data(load_config(arguments.config), arguments.data), events=arguments.events))
except InputError as error:
    print(f"risa: {error}", file=sys.stderr)
    sys.exit(2)
