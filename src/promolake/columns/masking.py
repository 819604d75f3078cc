"""Personal data: pseudonyms that join and display forms that do not tell. The key is a column, never a literal, so no plan shows it."""

from __future__ import annotations

import hashlib

from pyspark.sql import Column
from pyspark.sql import functions as F

from promolake.columns.once import once

KEY_VERSION = "v1"
KEY_INNER = "hmac_inner"
KEY_OUTER = "hmac_outer"
_BLOCK = 64  # bytes, SHA-256's block


def key_pads(key: bytes) -> tuple[bytes, bytes]:
    """The key as the inner and outer pad of HMAC-SHA-256 (RFC 2104, section 2); the engine joins them to the rows as two columns."""
    block = (hashlib.sha256(key).digest() if len(key) > _BLOCK else key).ljust(_BLOCK, b"\0")
    return bytes(b ^ 0x36 for b in block), bytes(b ^ 0x5C for b in block)


def hmac_sha256(text: Column) -> Column:
    """HMAC-SHA-256 of the text's UTF-8 bytes in hex (RFC 2104), under the key in the columns `hmac_inner` and `hmac_outer`."""
    inner = F.sha2(F.concat(F.col(KEY_INNER), text.cast("binary")), 256)
    return F.sha2(F.concat(F.col(KEY_OUTER), F.unhex(inner)), 256)


def pseudonym(text: Column) -> Column:
    """A keyed pseudonym that joins: key version and 128 bits of HMAC-SHA-256, `v1:<32 hex>`; NULL for NULL or blank."""

    def named(cleaned: Column) -> Column:
        return F.when(F.length(cleaned) > 0, F.concat(F.lit(f"{KEY_VERSION}:"), F.substring(hmac_sha256(cleaned), 1, 32)))

    return once(F.trim(text), named)


def phone_digits(phone: Column) -> Column:
    """A phone number reduced to its digits without the prefix of China, so that one person has one pseudonym."""
    digits = F.regexp_replace(phone, r"\D", "")
    return F.regexp_replace(digits, r"^(0086|86)(?=1\d{10}$)", "")


def phone_masked(phone: Column) -> Column:
    """`13812345678` as `138****5678`; shorter numbers keep their last two digits."""

    def masked(digits: Column) -> Column:
        full = F.concat(F.substring(digits, 1, 3), F.lit("****"), F.right(digits, F.lit(4)))
        return F.when(F.length(digits) >= 11, full).when(phone.isNotNull(), F.concat(F.lit("****"), F.right(digits, F.lit(2))))

    return once(phone_digits(phone), masked)


def email_normal(email: Column) -> Column:
    return F.lower(F.trim(email))


def email_masked(email: Column) -> Column:
    """`li.lei@example.com` as `l***@example.com`; anything else as `***`."""
    return F.when(
        email.contains("@"), F.concat(F.substring(F.trim(email), 1, 1), F.lit("***@"), F.substring_index(F.trim(email), "@", -1))
    ).when(email.isNotNull(), F.lit("***"))


def name_masked(name: Column) -> Column:
    """The first character and two stars."""
    return F.when(F.length(F.trim(name)) > 0, F.concat(F.substring(F.trim(name), 1, 1), F.lit("**")))


def address_masked(address: Column) -> Column:
    """Only that there was one: any part of an address may be the part that identifies."""
    return F.when(F.length(F.trim(address)) > 0, F.lit("***"))


def card_masked(card: Column) -> Column:
    """`4111111111111111` as `****1111` (PCI DSS 4.0, 3.4.1 allows the last four)."""

    def masked(digits: Column) -> Column:
        return F.when(F.length(digits) >= 8, F.concat(F.lit("****"), F.right(digits, F.lit(4)))).when(card.isNotNull(), F.lit("****"))

    return once(F.regexp_replace(card, r"\D", ""), masked)


# A number starts behind an escape (`\n`, `%2B`) as well as behind a blank; behind a letter or digit it is part of an id.
# Possessive quantifiers throughout: a hostile text must neither backtrack for seconds nor overflow the stack.
_START = r"(?:(?<![0-9A-Za-z])|(?<=\\[nrt]|%[0-9A-Fa-f]{2}))"
_LOCAL = r"[\p{L}\p{N}._+-]|%(?!40)"
_LABEL = r"[\p{L}\p{N}-]++"
_EMAIL = rf"(?<![\p{{L}}\p{{N}}._%+-])({_LOCAL})(?:{_LOCAL})*+(?:@|%40)({_LABEL}(?:\.{_LABEL})++)"
# Issuer prefixes keep epoch milliseconds and trace ids out of it (ISO/IEC 7812: 4 Visa, 51-55 and 22-27 Mastercard, 35 JCB, 6 others
# with 16 to 19 digits, 62 also in groups of 4-4-4-4-3; 34/37 Amex 15, 30/36/38 Diners 14).
_CARD = (
    rf"{_START}(?:6\d{{3}}(?:[ -]\d{{4}}){{3}}[ -]\d{{3}}(?!\d)"
    r"|(?:4\d{3}|5[1-5]\d{2}|2[2-7]\d{2}|35\d{2}|6\d{3})[ -]?\d{4}[ -]?\d{4}[ -]?\d{0,3}(?=\d{4}(?!\d))"
    r"|3\d{3}[ -]?\d{6}[ -]?\d?(?=\d{4}(?!\d)))"
)
_CVV = r"(?i)\b(\w*cv[vc]2?)(\W{1,6})\d{3,4}\b"
_PHONE_CN = rf"{_START}(?:(?:\+|00)?86[ -]?)?(1[3-9]\d)[ -]?\d{{4}}[ -]?(\d{{4}})(?!\d)"
_PHONE_INTL = r"(?<![0-9A-Za-z])\+\d{1,3}[ -]?\(?\d{1,4}\)?(?:[ -]?\d{2,4}){1,3}[ -]?(\d{2})(?!\d)"
# The value ends at a bracket, a line's end, or a comma before the next key: an address has commas of its own.
_NAMED = (
    r"(?i)((?<![a-z0-9_])(?:receiver|recipient|customer|consignee|buyer|user|full|first|last|nick|real|shipping|billing|delivery|home)?_?"
    r"(?:name|address|street|city|zip_?code)|姓名|收[货件]人|地址)"
    r"(\\?[\"']?\s*+[=:：]\s*+\\?)"  # noqa: RUF001  the full-width colon of Chinese text
    r"(?:\"[^\"]*+\"?|'[^']*+'|(?:[^,;\]}\n\"]|,(?!\s*+[\"']?[\w.]++[\"']?\s*+[=:]))++)"
)


def text_masked(text: Column) -> Column:
    """Free text with e-mails, card numbers, card codes and phones in it masked.

    Costs a few regular expressions, so text without a digit run, an @ or a card code's name is passed by.
    """
    masked = F.regexp_replace(text, _EMAIL, "$1***@$2")
    masked = F.regexp_replace(masked, _CARD, "****")
    masked = F.regexp_replace(masked, _CVV, "$1$2***")
    masked = F.regexp_replace(masked, _PHONE_CN, "$1****$2")
    masked = F.regexp_replace(masked, _PHONE_INTL, "****$1")
    return F.when(text.rlike(r"@|%40|\d[\d -]{6}|(?i)cv[vc]"), masked).otherwise(text)


def message_masked(message: Column) -> Column:
    """A log message: as `text_masked`, and what stands behind a name or address key (`name=Li Lei`) is starred out."""
    return text_masked(F.regexp_replace(message, _NAMED, "$1$2***"))
