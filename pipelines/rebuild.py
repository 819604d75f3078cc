"""spark-submit --properties-file conf/spark-defaults.conf --py-files dist/promolake-*.whl pipelines/rebuild.py [--home DIR] TABLE..."""

import sys

from promolake.cli.__main__ import process

home = sys.argv[1:3] if sys.argv[1:2] == ["--home"] else []
process([*home, "rebuild", *sys.argv[1 + len(home) :]])
