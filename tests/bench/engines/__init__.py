"""The engines that are compared, one small module each; what runs inside their processes is in `jobs/`."""

from bench.engines.drain import Drain
from bench.engines.flink import Flink
from bench.engines.floor import Floor
from bench.engines.naive_spark import NaiveSpark
from bench.engines.promolake import Promolake

ENGINES = (Promolake(), NaiveSpark(), Flink(), Floor(), Drain())
