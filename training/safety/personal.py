"""Personal data in a text: e-mail addresses, phone numbers, payment cards, IBANs, US social security numbers, IP
addresses.

Each is checked beyond its looks: phone numbers against the numbering plans of libphonenumber, cards by issuer and
checksum, IBANs by country and checksum (python-stdnum), addresses by what range they are in.
"""

import ipaddress
import re
from bisect import bisect_left
from collections.abc import Iterator

import phonenumbers
from stdnum import iban, luhn
from stdnum.us import ssn

from training.safety.kinds import Span

# ---- e-mail ----

_DOMAIN = re.compile(r"@((?:[A-Za-z0-9](?:[A-Za-z0-9\-]{0,61}[A-Za-z0-9])?\.){1,8}[A-Za-z]{2,24})(?![A-Za-z0-9@])")
_LOCAL = re.compile(r"(?<![A-Za-z0-9._%+\-])[A-Za-z0-9_%+\-](?:[A-Za-z0-9._%+\-]{0,62}[A-Za-z0-9_%+\-])?\Z")
_NOBODYS_DOMAIN = re.compile(
    r"(?i)(?:^|\.)(?:example\.(?:com|org|net|edu)|(?:my|your)?-?(?:domain|company)\.com|test\.com)$"
    r"|\.(?:example|test|invalid|localhost|local|png|jpe?g|gif|svg|webp|js|css)$"  # RFC 2606; images: logo@2x.png
)
_NOBODY = {"noreply", "no-reply", "donotreply", "do-not-reply", "git"}
_LONGEST_LOCAL = 64  # RFC 5321


def emails_in(text: str) -> Iterator[Span]:
    if "@" not in text:
        return
    for match in _DOMAIN.finditer(text):
        at = match.start()
        local = _LOCAL.search(text, max(0, at - _LONGEST_LOCAL - 1), at)
        if local is None or local.group().lower() in _NOBODY or _NOBODYS_DOMAIN.search(match.group(1)):
            continue
        yield Span("email", local.start(), match.end())


# ---- payment cards ----

_CARD = re.compile(r"(?<![\w.\-])\d(?:[ \-]?\d){12,18}(?!\w|[.\-]\d)")
_GROUPED = re.compile(r"\d{13,19}|\d{4}([ \-])\d{4}\1\d{4}\1\d{1,7}|\d{4}([ \-])\d{6}\2\d{4,5}")
# first digits and lengths, as the issuers publish them
_ISSUERS = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})"  # Visa
    r"|(?:5[1-5]\d\d|222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d{12}"  # Mastercard
    r"|3[47]\d{13}"  # American Express
    r"|(?:6011|64[4-9]\d|65\d\d)\d{12,15}"  # Discover
    r"|35(?:2[89]|[3-8]\d)\d{12,15}"  # JCB
    r"|3(?:0[0-5]\d|6\d\d|[89]\d\d)\d{10}"  # Diners Club
    r"|62\d{14,17}"  # UnionPay
    r"|(?:5018|5020|5038|6304|6759|676[1-3])\d{8,15}"  # Maestro
)


def cards_in(text: str) -> Iterator[Span]:
    for match in _CARD.finditer(text):
        digits = re.sub(r"\D", "", match.group())
        if _GROUPED.fullmatch(match.group()) and _ISSUERS.fullmatch(digits) and luhn.is_valid(digits):
            yield Span("card", match.start(), match.end())


# ---- IBAN ----

_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?: ?[A-Z0-9]{1,4}){3,8}(?![a-z0-9])")


def ibans_in(text: str) -> Iterator[Span]:
    for match in _IBAN.finditer(text):
        words = match.group()
        while words:  # capitals that follow it may look like its last group
            if iban.is_valid(words, check_country=False):
                yield Span("iban", match.start(), match.start() + len(words))
                break
            words = words.rpartition(" ")[0]


# ---- US social security numbers ----

_SSN = re.compile(r"(?<![\w.\-])\d{3}([ \-]?)\d{2}\1\d{4}(?!\w|[.,\-]\d)")
_SSN_WORD = re.compile(r"(?i)\bssns?\b|\bsocial[ \-]sec(?:urity)?\b")
_SSN_BEFORE, _SSN_AFTER = 60, 20  # characters in which the word must stand: nine digits alone may be anything


def ssns_in(text: str) -> Iterator[Span]:
    """Of a range that is handed out, and not one that was printed in advertisements."""
    words = [match.start() for match in _SSN_WORD.finditer(text)]
    if not words:
        return
    for match in _SSN.finditer(text):
        at = bisect_left(words, match.start() - _SSN_BEFORE)
        if at == len(words) or words[at] > match.end() + _SSN_AFTER:
            continue
        if ssn.is_valid(ssn.format(re.sub(r"\D", "", match.group()))):
            yield Span("ssn", match.start(), match.end())


# ---- IP addresses ----

_IPV4 = re.compile(r"(?<![\w.\-])(?:\d{1,3}\.){3}\d{1,3}(?!\w|\.\d|-\d)")
_IPV6 = re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{1,4}:){2,7}(?::?[0-9A-Fa-f]{1,4}){0,7}(?:::)?(?![\w:])")
_VERSION = re.compile(r"(?i)(?:\bv|version|release|build|firmware|driver|section|chapter|clause|§)[ :]{0,3}\Z")
_KNOWN_SERVERS = {"8.8.8.8", "8.8.4.4", "1.1.1.1", "1.0.0.1", "9.9.9.9", "1.2.3.4"}  # in everybody's documentation
_IN_USE = ipaddress.ip_network("2000::/3")  # the part of IPv6 that is handed out


def ips_in(text: str) -> Iterator[Span]:
    """Of the public internet; private, local and documentation ranges tell of nobody."""
    for pattern in (_IPV4, _IPV6):
        for match in pattern.finditer(text):
            try:
                address = ipaddress.ip_address(match.group())
            except ValueError:
                continue
            if not address.is_global or address.is_multicast or str(address) in _KNOWN_SERVERS:
                continue
            if address.version == 6 and address not in _IN_USE:
                continue
            if not _VERSION.search(text, max(0, match.start() - 14), match.start()):
                yield Span("ip", match.start(), match.end())


# ---- phone numbers ----

_PHONE = re.compile(
    r"(?<![\w.+\-/=])(?:\+ ?|\(\+?)?\d(?:[ \t().\-/\u00a0\u2009\u202f\u2010-\u2013]{0,3}\d){6,14}(?!\w|[.,\-/:=]\d)"
)
_NORTH_AMERICAN = re.compile(r"(?:1[ .\-])?(?:\(\d{3}\) ?|\d{3}[ .\-])\d{3}[ .\-]\d{4}")
_PHONE_WORD = re.compile(
    r"(?i)(?<![a-z])(?:tele(?:phone|fon|fono)|téléphone|teléfono|telefoon|phone|tel|mobile?|móvil|cell|handy|fax|"
    r"whatsapp|sms|hotline|call|dial|text|ring|reach|rufnummer|portable)\b"
    r"(?:[ \t:.,#=()\"'*\-]|\b(?:numbers?|nummer|numéro|número|no|nr|me|us|him|her|them|is|are|at|on|under|to|the|my|"
    r"our|his|your|auf|an|ist|lautet|unter|est|es|now)\b){0,12}\Z"
)
_DATE = re.compile(r"\(?(?:\d{4}[\-/.]\d{1,2}[\-/.]\d{1,2}|\d{1,2}[\-/.]\d{1,2}[\-/.]\d{4})")
_REGIONS = ("US", "GB", "DE", "FR", "ES", "IT", "NL", "BE", "AT", "CH", "IE", "PL", "PT", "SE", "DK", "NO", "FI", "CZ",
            "IN", "AU", "BR", "MX", "JP")  # fmt: skip


def phones_in(text: str) -> Iterator[Span]:
    """International numbers; national ones in the North American way of writing, or where the words before them say
    that they are phone numbers. All must exist in their numbering plan."""
    for match in _PHONE.finditer(text):
        start, written = match.start(), match.group()
        if written.startswith("(") and written.count("(") > written.count(")"):  # it stands in parentheses as a whole
            start, written = start + 1, written[1:]
        if _DATE.match(written) or " / " in written or " - " in written:  # a date, a sum
            continue
        if written.lstrip("(").startswith(("+", "00")):
            regions: list[str | None] = [None]
            written = re.sub(r"^\(?00", "+", written)
        elif _NORTH_AMERICAN.fullmatch(written):
            regions = ["US"]
        elif _PHONE_WORD.search(text, max(0, start - 36), start):
            regions = [*_REGIONS]
        else:
            continue
        if any(_exists(written, region) for region in regions):
            yield Span("phone", start, match.end())


def _exists(written: str, region: str | None) -> bool:
    try:
        return bool(phonenumbers.is_valid_number(phonenumbers.parse(written, region)))
    except phonenumbers.NumberParseException:
        return False
