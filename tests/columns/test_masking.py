"""Personal data leaves bronze only as pseudonyms that join and as display forms that do not tell."""

import hashlib
import hmac
import re
import string
import time

import pytest
from hypothesis import strategies as st
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from drawn import drawn
from frames import KEY, evaluated
from promolake.columns import masking

# --- pseudonyms ---------------------------------------------------------------------------------------------------------------

RFC_4231 = {  # test case: key, text, HMAC-SHA-256 (RFC 4231, section 4; the cases whose data is text)
    "1": (b"\x0b" * 20, "Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
    "2": (b"Jefe", "what do ya want for nothing?", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
    "6": (
        b"\xaa" * 131,
        "Test Using Larger Than Block-Size Key - Hash Key First",
        "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
    ),
    "7": (
        b"\xaa" * 131,
        "This is a test using a larger than block-size key and a larger than block-size data. "
        "The key needs to be hashed before being used by the HMAC algorithm.",
        "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
    ),
}


def test_the_keyed_hash_is_hmac_sha_256(spark: SparkSession) -> None:
    rows = [(case, *(bytearray(pad) for pad in masking.key_pads(key)), text) for case, (key, text, _) in RFC_4231.items()]
    frame = spark.createDataFrame(rows, f"case string, {masking.KEY_INNER} binary, {masking.KEY_OUTER} binary, text string")
    found = frame.select("case", masking.hmac_sha256(F.col("text")).alias("hash")).toArrow().to_pylist()
    assert {row["case"]: row["hash"] for row in found} == {case: expected for case, (_, _, expected) in RFC_4231.items()}


@pytest.mark.parametrize("length", [0, 1, 63, 64, 65, 131], ids=lambda n: f"a key of {n} bytes")
def test_the_pads_are_a_block_long_whatever_the_key(length: int) -> None:
    key = b"k" * length
    inner, outer = masking.key_pads(key)
    assert len(inner) == len(outer) == 64
    assert hashlib.sha256(outer + hashlib.sha256(inner + b"text").digest()).digest() == hmac.digest(key, b"text", "sha256")


def test_a_pseudonym_names_its_keys_version_and_hides_nothing_but_blank_edges(spark: SparkSession) -> None:
    expected = "v1:" + hmac.new(KEY, "李雷".encode(), "sha256").hexdigest()[:32]
    assert evaluated(spark, ["李雷", " 李雷 ", "", "  ", None], masking.pseudonym) == [expected, expected, None, None, None]


def test_one_phone_has_one_pseudonym_however_it_is_written(spark: SparkSession) -> None:
    given = ["13812345678", "+86 138-1234-5678", "0086 13812345678", "8613812345678", "138 1234 5678"]
    assert evaluated(spark, given, masking.phone_digits) == ["13812345678"] * len(given)


def test_one_email_has_one_pseudonym_however_it_is_written(spark: SparkSession) -> None:
    assert evaluated(spark, ["Li.Lei@Example.com", " li.lei@example.com "], masking.email_normal) == ["li.lei@example.com"] * 2


# --- display forms ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        (
            masking.phone_masked,
            {
                "13812345678": "138****5678",
                "+86 138-1234-5678": "138****5678",
                "12345": "****45",
                "": "****",
                "unknown": "****",
                None: None,
            },
        ),
        (
            masking.email_masked,
            {"li.lei@example.com": "l***@example.com", " a@b@c.org ": "a***@c.org", "no address": "***", "": "***", None: None},
        ),
        (
            masking.card_masked,
            {"4111111111111111": "****1111", "4111 1111-1111 1111": "****1111", "1234567": "****", "": "****", None: None},
        ),
        (masking.name_masked, {"Li Lei": "L**", "李雷": "李**", " 李 ": "李**", "": None, "  ": None, None: None}),
        (masking.address_masked, {"1 Example Road, Hangzhou": "***", " ": None, None: None}),
    ],
    ids=["phone", "e-mail", "card", "name", "address"],
)
def test_a_display_form_tells_part_or_nothing(spark: SparkSession, mask, expected: dict[str | None, str | None]) -> None:
    assert dict(zip(expected, evaluated(spark, list(expected), mask), strict=True)) == expected


# --- free text ----------------------------------------------------------------------------------------------------------------

MASKED = {
    "call 13812345678 now": "call 138****5678 now",
    "call +86 138 1234 5678 now": "call 138****5678 now",
    "call 008613812345678": "call 138****5678",
    "tel:138-1234-5678.": "tel:138****5678.",
    r"{\"tel\":\"x\"}\n13812345678": r"{\"tel\":\"x\"}\n138****5678",
    "from +44 7911 123456 in London": "from ****56 in London",
    "from +447911123456": "from ****56",
    "+1 (415) 555-2671": "****71",
    "mail li.lei@example.com, please": "mail l***@example.com, please",
    "<_x.y+tag@mail.example.co.uk>.": "<_***@mail.example.co.uk>.",
    "李雷@例子.中国": "李***@例子.中国",
    "paid with 4111111111111111!": "paid with ****1111!",
    "paid with 4111 1111 1111 1111": "paid with ****1111",
    "paid with 5500-0000-0000-0004": "paid with ****0004",
    "Amex 3782 822463 10005": "Amex ****0005",
    "Diners 30569309025904": "Diners ****5904",
    "UnionPay 6222021234567890123": "UnionPay ****0123",
    "UnionPay 6222 0212 3456 7890 123": "UnionPay ****",
    "cvv=123": "cvv=***",
    '{"cvc2": "1234"}': '{"cvc2": "***"}',
    r"{\"card_cvv\":\"123\"}": r"{\"card_cvv\":\"***\"}",
}
MASKED_IN_URLS = {
    "/login?email=li.lei%40example.com&x=1": "/login?email=l***@example.com&x=1",
    "/sms?phone=%2B8613812345678": "/sms?phone=%2B138****5678",
    "/u/13812345678/orders": "/u/138****5678/orders",
}
NAMED = {
    "name=Li Lei": "name=***",
    "Receiver(name=Li Lei, phone=13812345678)": "Receiver(name=***, phone=138****5678)",
    "receiverName: O'Brien; status: PAID": "receiverName: ***; status: PAID",
    '{"name": "Li Lei", "status": "PAID"}': '{"name": ***, "status": "PAID"}',
    r"{\"name\":\"Li Lei\",\"status\":1}": r"{\"name\":\***,\"status\":1}",
    "name='Li, Lei' done": "name=*** done",
    'name="Li Lei cut off': "name=***",
    "address: 1 Example Road, Hangzhou": "address: ***",
    "address=1 Example Road, Hangzhou, status=PAID": "address=***, status=PAID",
    f"shipping_address={'1 Example Road ' * 20}": "shipping_address=***",
    "address=1 Example Road\n\tat x.Y(Y.java:1)": "address=***\n\tat x.Y(Y.java:1)",
    "收货人：李雷; 地址：杭州": "收货人：***; 地址：***",  # noqa: RUF001
}
LEFT_ALONE = [
    "sent at 1794355200123",
    "sent at 1794355200",
    "in 1794355200123456789 ns",
    "trace 4bf92f3577b34da6a3ce929d0e0e4736 span 00f067aa0ba902b7",
    "trace a13812345678b41111111111111112",
    "id 550e8400-e29b-41d4-a716-446655440000",
    "order A536365 line 12, order 20261111000001, order 536365",
    "2026-11-11 00:00:00.120 took 1200 ms",
    "2026-11-11T00:00:00+0800 10.10.10.10:50010",
    "partition __consumer_offsets-13, offset 123456789012",
    "Object@1a2b3c4d and user@localhost",
    "hostname=web-1 filename=a.txt",
    "price 4999.00 quantity 2",
    "",
]


def masked(spark: SparkSession, given: list[str], mask=masking.message_masked) -> dict[str, str]:
    return dict(zip(given, evaluated(spark, given, mask), strict=True))


def test_phones_emails_cards_and_card_codes_are_masked_inside_text(spark: SparkSession) -> None:
    assert masked(spark, list(MASKED)) == MASKED


def test_they_are_masked_where_a_url_encodes_them(spark: SparkSession) -> None:
    assert masked(spark, list(MASKED_IN_URLS), masking.text_masked) == MASKED_IN_URLS


def test_names_and_addresses_are_masked_behind_their_keys_in_a_log_message(spark: SparkSession) -> None:
    assert masked(spark, list(NAMED)) == NAMED


def test_times_trace_ids_and_order_numbers_are_left_alone(spark: SparkSession) -> None:
    assert masked(spark, LEFT_ALONE) == {text: text for text in LEFT_ALONE}
    assert evaluated(spark, [None], masking.message_masked) == [None]


DIGITS = string.digits
SEPARATORS = st.sampled_from(["", " ", "-"])
FOUR = st.text(DIGITS, min_size=4, max_size=4)
NETWORK = st.from_regex(r"1[3-9]\d", fullmatch=True, alphabet=DIGITS)
PHONES = st.tuples(st.sampled_from(["", "+86", "86", "+86 ", "0086"]), NETWORK, SEPARATORS, FOUR, SEPARATORS, FOUR).map("".join)
EMAILS = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._%+-]{2,20}@[a-z0-9-]{1,10}(\.[a-z]{2,5}){1,2}", fullmatch=True).filter(
    lambda mail: "%40" not in mail
)
ISSUERS = st.sampled_from(["4000", "4999", "5100", "5555", "2221", "2720", "6011", "6222", "3528"])
GROUPS = st.lists(FOUR, min_size=3, max_size=3)
CARDS = st.tuples(ISSUERS, GROUPS, SEPARATORS).map(lambda card: card[2].join([card[0], *card[1]]))
BEFORE = ["", " ", "card ", "phone=", '{"x":"', "<b>", "用户", "(", "\n", "/u/", "[INFO] ", "'"]
AFTER = ["", " ", ".", ", then", '"}', "</b>", ")", "\n\tat x.Y", "/", "&a=b", "'", "。"]
AROUND = st.tuples(st.sampled_from(BEFORE), st.sampled_from(AFTER))


@pytest.mark.parametrize(("personal", "shown"), [(PHONES, 7), (EMAILS, None), (CARDS, 4)], ids=["phone", "e-mail", "card"])
def test_whatever_stands_around_it_none_survives_in_clear(spark: SparkSession, personal: st.SearchStrategy[str], shown: int | None) -> None:
    """At most `shown` digits of a number stay; of an e-mail, not its local part."""
    examples = [(datum, before + datum + after) for datum, (before, after) in drawn(st.tuples(personal, AROUND), 300)]
    texts = evaluated(spark, [text for _, text in examples], masking.message_masked)
    for (datum, text), result in zip(examples, texts, strict=True):
        assert datum not in result, text
        if shown is None:
            local, domain = datum.split("@")
            assert local not in result.replace(domain, ""), text
        else:
            assert len(re.sub(r"\D", "", result)) <= shown, text


@pytest.mark.parametrize(
    "hostile",
    ["a" * 60_000 + "@", "a@" + "a." * 30_000, "a@" * 30_000, "1 " * 30_000, "4111-" * 12_000, "name=" * 12_000, "name='" * 10_000,
     "cvv" * 20_000, "+1 (" * 15_000, "a,b" * 20_000 + "=@", "address=" + "x, " * 20_000, "%" * 60_000 + "@"],
    ids=lambda text: text[:8],
)  # fmt: skip
def test_a_hostile_text_is_masked_in_no_time(spark: SparkSession, hostile: str) -> None:
    started = time.monotonic()
    (result,) = evaluated(spark, [hostile], masking.message_masked)
    assert result is not None
    assert time.monotonic() - started < 20  # backtracking would take minutes
