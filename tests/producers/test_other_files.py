"""The shipped mappings take other files of their kinds: other times, other names, no brackets."""

import json
from pathlib import Path

import pytest

from promolake.producers.mapping import mapping
from promolake.producers.message import Message
from promolake.producers.replay import ReplayReport, messages

MAPPINGS = Path(__file__).parents[2] / "conf" / "replay"
RETAIL = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
RETAIL_II = "Invoice,StockCode,Description,Quantity,InvoiceDate,Price,Customer ID,Country"


def replayed(name: str, file: Path, text: str) -> list[Message]:
    file.write_text(text)
    report = ReplayReport()
    sent = list(messages([file], mapping(name, MAPPINGS), report))
    assert report.unmapped == 0, report.listed
    return sent


@pytest.mark.parametrize(
    "written",
    ["2010-12-01 08:26:00", "2010-12-01T08:26:00", "2010-12-01 08:26", "2010-12-01T09:26:00+01:00", "12/1/2010 8:26", "12/1/10 8:26"],
)
def test_online_retail_takes_the_time_as_its_copies_write_it(tmp_path: Path, written: str) -> None:
    (sent,) = replayed("online_retail", tmp_path / "f.csv", f"{RETAIL}\n536365,85123A,A,6,{written},2.55,17850,UK\n")
    assert json.loads(sent.value)["event_time"] == "2010-12-01T08:26:00Z"


@pytest.mark.parametrize(("name", "header"), [("online_retail", RETAIL), ("online_retail_ii", RETAIL_II)])
def test_both_retail_files_give_the_same_messages(tmp_path: Path, name: str, header: str) -> None:
    sold = '489434,85048,"15CM BALL, ""20 LIGHTS""",12,2009-12-01 07:45:00,6.95,13085.0,UK\n'
    cancelled = "c489435,22350,CAT BOWL,-1,2009-12-01 07:46:00,2.55,,UK\n"  # in the data C, in UCI's description c
    lines = [json.loads(sent.value) for sent in replayed(name, tmp_path / "f.csv", f"{header}\n{sold}{cancelled}")]
    known = ("order_id", "product_id", "quantity", "unit_price", "currency", "user_id", "status", "event_time", "line_number")
    assert [tuple(line[field] for field in known) for line in lines] == [
        ("489434", "85048", 12, "6.95", "GBP", "13085", "PAID", "2009-12-01T07:45:00Z", 1),
        ("c489435", "22350", -1, "2.55", "GBP", None, "CANCELLED", "2009-12-01T07:46:00Z", 1),
    ]


def test_log4j_lines_are_events_with_or_without_brackets_around_their_time(tmp_path: Path) -> None:
    text = "2016-12-19 16:31:46,143 ERROR x\njava.lang.Error\n2016-12-19T16:31:47 INFO y\n[2016-12-19 16:31:48,1] INFO z\n"
    sent = replayed("kafka_log4j", tmp_path / "f.log", text)
    assert [message.value for message in sent] == [
        b"2016-12-19 16:31:46,143 ERROR x\njava.lang.Error",
        b"2016-12-19T16:31:47 INFO y",
        b"[2016-12-19 16:31:48,1] INFO z",
    ]
