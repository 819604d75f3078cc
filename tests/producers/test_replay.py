"""Replay: rows of real files become messages, all of them, always under the same ids."""

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.progress import Progress

from promolake.core.errors import PromolakeError, SettingsError
from promolake.producers import replay as sending_files
from promolake.producers.mapping import Mapping
from promolake.producers.message import Message
from promolake.producers.replay import ReplayReport, messages

VIEWS = {
    "topic": "shop.views",
    "format": "csv",
    "fields": {"event_time": {"from": "t", "time": ["iso", "%d.%m.%Y %H:%M"]}, "product_id": "p"},
}
METRIC = {"event_time": {"constant": "2026-01-01T00:00:00Z"}, "host": {"constant": "h"}}
GOOD_TIME = "2026-11-11T00:00:00Z"


def replayed(tmp_path: Path, content: str | bytes, mapping: dict[str, Any], name: str = "f.csv") -> tuple[list[Message], ReplayReport]:
    file = tmp_path / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    report = ReplayReport()
    return list(messages([file], Mapping.model_validate(mapping), report)), report


def payloads(sent: list[Message]) -> list[dict[str, Any]]:
    return [json.loads(message.value) for message in sent]


def one(tmp_path: Path, cell: str, value: Any, field: str = "product_id", topic: str = "shop.views") -> Any:
    """What a value makes of a cell of the column x (and the file's only row)."""
    fields = {"event_time": {"constant": GOOD_TIME}, "product_id": {"constant": "p"}} if topic == "shop.views" else METRIC
    mapping = {"topic": topic, "format": "tsv", "column_names": ["x"], "fields": fields | {field: value}}
    return payloads(replayed(tmp_path, f"{cell}\n", mapping)[0])[0][field]


def test_the_event_id_is_folder_file_and_line_and_stays_when_replayed(tmp_path: Path) -> None:
    rows = f"t,p\n{GOOD_TIME},p1\n\n{GOOD_TIME},p2\n"
    first, _ = replayed(tmp_path, rows, VIEWS)
    again, _ = replayed(tmp_path, rows, VIEWS)
    assert first == again
    assert [payload["event_id"] for payload in payloads(first)] == [f"{tmp_path.name}/f.csv:2", f"{tmp_path.name}/f.csv:4"]


def test_files_of_one_name_in_two_folders_have_different_ids(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "f.csv").write_text(f"t,p\n{GOOD_TIME},p1\n")
    sent = list(messages([tmp_path / "a" / "f.csv", tmp_path / "b" / "f.csv"], Mapping.model_validate(VIEWS)))
    assert [payload["event_id"] for payload in payloads(sent)] == ["a/f.csv:2", "b/f.csv:2"]


def test_a_row_over_several_lines_bears_the_line_it_starts_in(tmp_path: Path) -> None:
    sent, _ = replayed(tmp_path, f't,p\n{GOOD_TIME},"p\none"\n{GOOD_TIME},p2\n', VIEWS)
    assert [(p["event_id"].split(":")[1], p["product_id"]) for p in payloads(sent)] == [("2", "p\none"), ("4", "p2")]


def test_gzip_is_recognised_by_content_and_not_by_name(tmp_path: Path) -> None:
    plain, _ = replayed(tmp_path, f"t,p\n{GOOD_TIME},p1\n", VIEWS)
    packed, _ = replayed(tmp_path, gzip.compress(f"t,p\n{GOOD_TIME},p1\n".encode()), VIEWS)
    assert plain == packed


def test_a_damaged_gzip_is_one_clear_sentence(tmp_path: Path) -> None:
    with pytest.raises(PromolakeError, match=r"The gzip of .*f\.csv is damaged after line \d+\."):
        replayed(tmp_path, gzip.compress(f"t,p\n{GOOD_TIME},p1\n".encode() * 1000)[:-20], VIEWS)


def test_a_gzip_whose_bytes_were_changed_is_damaged_too(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress("".join(["t,p\n", *(f"{GOOD_TIME},p{n * n}\n" for n in range(50_000))]).encode()))
    packed[len(packed) // 2 :] = b"\xff" * (len(packed) - len(packed) // 2)
    with pytest.raises(PromolakeError, match=r"The gzip of .*f\.csv is damaged after line \d+\."):
        replayed(tmp_path, bytes(packed), VIEWS)


def test_windows_line_ends_and_a_byte_order_mark_change_nothing(tmp_path: Path) -> None:
    plain, _ = replayed(tmp_path, f"t,p\n{GOOD_TIME},p1\n", VIEWS)
    windows, _ = replayed(tmp_path, b"\xef\xbb\xbf" + f"t,p\r\n{GOOD_TIME},p1\r\n".encode(), VIEWS)
    assert plain == windows


def test_a_line_that_is_not_utf8_is_read_as_latin_1(tmp_path: Path) -> None:
    sent, report = replayed(tmp_path, b"t,p\n" + f"{GOOD_TIME},caf".encode() + b"\xe9\n" + f"{GOOD_TIME},café\n".encode(), VIEWS)
    assert [payload["product_id"] for payload in payloads(sent)] == ["café", "café"]
    assert report.unmapped == 0


def test_a_line_no_encoding_reads_is_sent_byte_for_byte(tmp_path: Path) -> None:
    sent, report = replayed(tmp_path, b"t,p\nx,caf\xe9\n", VIEWS | {"encodings": ["utf-8"]})
    assert sent == [Message("shop.views", None, b"x,caf\xe9")]
    assert report.listed == [f"{tmp_path}/f.csv:2 is not text in the mapping's encodings"]


def test_a_time_no_format_reads_is_sent_as_it_stands_and_counted(tmp_path: Path) -> None:
    sent, report = replayed(tmp_path, "t,p\nyesterday,p1\n11.11.2026 08:00,p2\n", VIEWS)
    assert [payload["event_time"] for payload in payloads(sent)] == ["yesterday", "2026-11-11T08:00:00Z"]
    assert report.listed == [f"{tmp_path}/f.csv:2 event_time is not a time like iso or %d.%m.%Y %H:%M"]
    assert (report.rows, report.unmapped, report.skipped) == (2, 1, 0)


def test_a_row_with_too_few_columns_is_sent_as_its_text(tmp_path: Path) -> None:
    sent, report = replayed(tmp_path, f't,p\n"{GOOD_TIME}"\n', VIEWS)
    assert sent == [Message("shop.views", None, f'"{GOOD_TIME}"'.encode())]
    assert report.listed == [f"{tmp_path}/f.csv:2 has 1 columns instead of 2"]


def test_a_quote_that_is_never_closed_is_named_with_the_lines_it_swallowed(tmp_path: Path) -> None:
    sent, report = replayed(tmp_path, f't,p\n{GOOD_TIME},"p1\n{GOOD_TIME},p2\n{GOOD_TIME},p3', VIEWS | {"column_names": ["t", "p", "q"]})
    assert sent[1].value.decode() == f'{GOOD_TIME},"p1\n{GOOD_TIME},p2\n{GOOD_TIME},p3'
    assert report.listed[1] == f"{tmp_path}/f.csv:2 has 2 columns instead of 3, up to line 4"


def test_a_required_field_without_a_value_is_sent_null_and_counted(tmp_path: Path) -> None:
    sent, report = replayed(tmp_path, f"t,p\n{GOOD_TIME},\n", VIEWS)
    assert payloads(sent)[0]["product_id"] is None
    assert report.listed == [f"{tmp_path}/f.csv:2 product_id is empty"]


def test_a_report_never_repeats_what_stands_in_a_cell(tmp_path: Path) -> None:
    _, report = replayed(tmp_path, "t,p\n13800138000,p1\nli.lei@example.com\n", VIEWS)
    assert report.unmapped == 2
    assert "example.com" not in " ".join(report.listed)
    assert "13800138000" not in " ".join(report.listed)


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (b"t,q\n", "has no column p; it has: t, q. If it is called otherwise there, copy the mapping"),
        (b"t,p,p\n", "has two columns called p. Rename"),
        (b"", "is empty: it has not even a header line. Leave it out."),
        (b"\n\n", "is empty"),
        (b"t,p\rx,y\r", "is not csv: .* A line ends with LF or CR LF."),
        (b"PK\x03\x04\x14\x00 t,p\n", "is a zip archive or an Excel workbook. Save it as text"),
        (b"BZh91AY&SY", "is packed by bzip2."),
        ("t,p\n".encode("utf-16"), "is UTF-16 text."),
    ],
)
def test_a_mapping_that_does_not_fit_a_later_file_sends_nothing_at_all(tmp_path: Path, header: bytes, said: str) -> None:
    (tmp_path / "good.csv").write_text(f"t,p\n{GOOD_TIME},p1\n")
    (tmp_path / "bad.csv").write_bytes(header)
    with pytest.raises(SettingsError, match=rf"bad\.csv {said}"):
        next(messages([tmp_path / "good.csv", tmp_path / "bad.csv"], Mapping.model_validate(VIEWS)))


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.csv cannot be read: No such file"):
        list(messages([Path("nowhere.csv")], Mapping.model_validate(VIEWS)))


def test_what_can_be_read_only_once_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # its beginning would be lost to the look at its header
    with pytest.raises(SettingsError, match="pipe is not a file"):
        list(messages([tmp_path / "pipe"], Mapping.model_validate(VIEWS)))


def test_two_files_whose_rows_would_have_the_same_ids_are_refused_and_the_same_file_twice_is_not(tmp_path: Path) -> None:
    first, second = (tmp_path / day / "part" / "f.csv" for day in ("monday", "tuesday"))
    for file in (first, second):
        file.parent.mkdir(parents=True)
        file.write_text(f"t,p\n{GOOD_TIME},p1\n")
    with pytest.raises(SettingsError, match="would give their rows the same ids"):
        list(messages([first, second], Mapping.model_validate(VIEWS)))
    sent = list(messages([first, first], Mapping.model_validate(VIEWS)))
    assert sent[0] == sent[1]


def test_blank_lines_before_the_header_are_none(tmp_path: Path) -> None:
    sent, _ = replayed(tmp_path, f"\n\nt,p\n{GOOD_TIME},p1\n", VIEWS)
    assert [payload["event_id"] for payload in payloads(sent)] == [f"{tmp_path.name}/f.csv:4"]


def test_decimals_stay_the_text_they_are(tmp_path: Path) -> None:
    line = {
        "order_id": "$line",
        "line_number": "$number",
        "product_id": "p",
        "quantity": "q",
        "unit_price": "u",
        "currency": {"constant": "EUR"},
    }
    fields = line | {"status": {"constant": "PAID"}, "event_time": {"constant": GOOD_TIME}}
    mapping = {"topic": "shop.orders", "format": "csv", "group": "p", "fields": fields}
    sent, _ = replayed(tmp_path, "p,q,u\na,2.0,0.1000\na,-3,12345678901234.5678\nb,two,1e3\n", mapping)
    found = [(row["line_number"], row["quantity"], row["unit_price"]) for row in payloads(sent)]
    assert found == [(1, 2, "0.1000"), (2, -3, "12345678901234.5678"), (1, "two", "1e3")]


@pytest.mark.parametrize(
    ("cell", "value", "expected"),
    [
        ("a b", {"from": "x", "regex": r"\S+"}, "a"),
        ("a b", {"from": "x", "regex": r"\S+ (\S+)"}, "b"),
        ("a b", {"from": "x", "regex": "z", "default": "none"}, "none"),
        ('{"a": {"b": 1.10}}', {"from": "x", "path": "a.b"}, "1.10"),
        ('{"a.b": 7}', {"from": "x", "path": ["a.b"]}, "7"),
        ('{"a": "{\\"b\\": \\"{\\\\\\"c\\\\\\": true}\\"}"}', {"from": "x", "path": "a.b.c"}, "true"),
        ("no json", {"from": "x", "path": "a", "default": "d"}, "d"),
        ("de", {"from": "x", "lookup": {"de": "Germany"}}, "Germany"),
        ("fr", {"from": "x", "lookup": {"de": "Germany"}}, None),
        ("C12", {"cases": [{"when": {"from": "x", "matches": "^C"}, "then": "back"}], "default": "sold"}, "back"),
        ("12", {"cases": [{"when": {"from": "x", "matches": "^C"}, "then": "back"}], "default": "sold"}, "sold"),
        ("a", "$stem", "f"),
        ("a", "$file", "f.csv"),
    ],
)
def test_a_value_is_found_and_changed_step_by_step(tmp_path: Path, cell: str, value: Any, expected: str | None) -> None:
    assert one(tmp_path, cell, value) == expected


@pytest.mark.parametrize(
    ("cell", "time", "expected"),
    [
        ("1661140279", {"time": "epoch_s"}, "2022-08-22T03:51:19Z"),
        ("1661140279.25", {"time": "epoch_s"}, "2022-08-22T03:51:19.250000Z"),
        ("1661140279250", {"time": "epoch_ms"}, "2022-08-22T03:51:19.250000Z"),
        ("2022-08-22T05:18:42.996857478Z", {"time": "iso"}, "2022-08-22T05:18:42.996857Z"),
        ("2026-11-11T00:00:00", {"time": "iso", "zone": "Asia/Shanghai"}, "2026-11-10T16:00:00Z"),
        ("2026-11-11T00:00:00+02:00", {"time": "iso", "zone": "Asia/Shanghai"}, "2026-11-10T22:00:00Z"),
        ("12/1/2010 8:26", {"time": ["%Y-%m-%d %H:%M:%S", "%m/%d/%Y %H:%M"]}, "2010-12-01T08:26:00Z"),
        ("inf", {"time": ["epoch_s", "epoch_ms"]}, "inf"),
    ],
)
def test_a_time_becomes_iso_in_utc(tmp_path: Path, cell: str, time: dict[str, Any], expected: str) -> None:
    assert one(tmp_path, cell, {"from": "x"} | time, "event_time") == expected


@pytest.mark.parametrize(("cell", "expected"), [("0.125", "12.5"), ("1e-3", "0.1"), ("", None), ("NaN", '"NaN"')])
def test_a_scale_multiplies_exactly(tmp_path: Path, cell: str, expected: str | None) -> None:
    mapping = {"topic": "machine.metrics", "format": "csv", "fields": METRIC | {"cpu": {"from": "x", "scale": 100}}}
    value = replayed(tmp_path, f"n,x\n1,{cell}\n", mapping)[0][0].value.decode()
    literal = value.rsplit('"cpu":', 1)[1].rstrip("}")
    assert (None if literal == "null" else literal if literal.startswith('"') else str(float(literal))) == expected


def test_where_leaves_out_the_rows_that_fail_any_condition(tmp_path: Path) -> None:
    where = [{"from": "p", "matches": "^p"}, {"from": "k", "equals": "view"}, {"from": "u", "not_empty": True}]
    rows = "t,p,k,u\n" + "".join(f"{GOOD_TIME},{row}\n" for row in ("p1,view,u", "x1,view,u", "p2,buy,u", "p3,view,"))
    sent, report = replayed(tmp_path, rows, VIEWS | {"where": where})
    assert [payload["product_id"] for payload in payloads(sent)] == ["p1"]
    assert report.skipped == 3


def test_json_lines_keep_numbers_as_they_are_written(tmp_path: Path) -> None:
    mapping = {"topic": "machine.metrics", "format": "jsonl", "fields": METRIC | {"cpu": {"from": "load", "path": "cpu"}}}
    sent, report = replayed(tmp_path, '{"load": {"cpu": 1.10000000000000000001}}\n\nnot json\n[1]\n', mapping)
    assert b'"cpu":1.10000000000000000001}' in sent[0].value
    assert [message.value for message in sent[1:]] == [b"not json", b"[1]"]
    assert report.unmapped == 2


def test_lines_that_start_no_event_belong_to_the_one_before(tmp_path: Path) -> None:
    mapping = {"topic": "app.logs", "format": "lines", "event_starts": r"^\[", "key": {"constant": "kafka"}}
    sent, _ = replayed(tmp_path, "orphan\n[1] ERROR x\n\tat a\n\n\tat b\n[2] INFO y\n", mapping)
    assert [message.value for message in sent] == [b"orphan", b"[1] ERROR x\n\tat a\n\n\tat b", b"[2] INFO y"]
    assert [dict(message.headers)["event_id"].rsplit(b":")[1] for message in sent] == [b"1", b"2", b"6"]
    assert {message.key for message in sent} == {b"kafka"}


@pytest.mark.parametrize("length", [1, 600_000])
def test_a_file_no_line_of_which_begins_an_event_is_not_taken_for_one_event(tmp_path: Path, length: int) -> None:
    mapping = {"topic": "app.logs", "format": "lines", "event_starts": r"^\["}
    with pytest.raises(SettingsError, match=r"f\.csv has no line that begins an event as the mapping says: \^\\\["):
        replayed(tmp_path, f"1 INFO x\n2 ERROR {'y' * length}\n3 ERROR z\n", mapping)


def test_a_broken_row_does_not_break_the_rows_after_it(tmp_path: Path) -> None:
    sent, report = replayed(tmp_path, f"t,p\n{GOOD_TIME},a\rb\n{GOOD_TIME},p2\n", VIEWS)
    assert report.unmapped == 1
    assert payloads(sent[1:])[0]["product_id"] == "p2"


class TakesAll:
    """In the place of the Sender: every message is taken and forgotten."""

    def __init__(self, bootstrap: str, say: Callable[[str], None]) -> None: ...

    def __enter__(self) -> "TakesAll":
        return self

    def __exit__(self, *_: object) -> None: ...

    def send(self, message: Message) -> bool:
        return True


def test_however_many_files_there_are_one_bar_shows_the_one_in_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Progress] = []

    class Kept(Progress):
        def __enter__(self) -> Progress:
            shown.append(self)
            return super().__enter__()

    monkeypatch.setattr(sending_files, "Sender", TakesAll)
    monkeypatch.setattr(sending_files, "Progress", Kept)
    files = [tmp_path / f"{n}.csv" for n in range(3)]
    for file in files:
        file.write_text(f"t,p\n{GOOD_TIME},{file.stem}\n")
    assert sending_files.replay(files, Mapping.model_validate(VIEWS), "nowhere:9", say=lambda _: None).sent == 3
    assert [(bar.description, bar.percentage) for bar in shown[0].tasks] == [("2.csv (3 of 3)", 100.0)]
