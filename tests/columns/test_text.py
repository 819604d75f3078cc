"""Text as it comes: what is no UTF-8 is made readable, and a character is taken out."""

import pyarrow as pa
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from frames import evaluated
from promolake.columns.text import readable, without


def test_bytes_that_are_no_utf8_stand_as_the_replacement_character(spark: SparkSession) -> None:
    given = {b"abc": "abc", "李雷".encode(): "李雷", b"": "", b"a\xffb": "a\ufffdb", b"\x80": "\ufffd", None: None}
    rows = spark.createDataFrame(pa.table({"n": range(len(given)), "bytes": pa.array(list(given), pa.binary())}))
    found = rows.select("n", readable(F.col("bytes")).alias("text")).toArrow().sort_by("n")["text"].to_pylist()
    assert found == list(given.values())


def test_a_character_is_taken_out_wherever_it_stands_and_nothing_else(spark: SparkSession) -> None:
    given = {"a\0b\0": "ab", "\0": "", "ab": "ab", "": "", "李\0雷": "李雷", None: None}
    assert evaluated(spark, list(given), lambda text: without(text, "\0")) == list(given.values())
