"""All finders over one text, and how what they found may be shown: masked, also where it stands beside another."""

import re
from bisect import bisect_left

from training.safety.keys import keys_in
from training.safety.kinds import KINDS, Span
from training.safety.personal import cards_in, emails_in, ibans_in, ips_in, phones_in, ssns_in

VERSION = "3"  # of the finders; another one has every file looked through again
CONTEXT = 40  # characters shown on each side
_FEWEST_DIGITS = re.compile(r"\d(?:[^A-Za-z\n]{0,3}\d){6}|(?:\d{1,3}\.){3}\d|::|:[0-9A-Fa-f]{1,4}:")
_NAMES = re.compile(r"(?i)passw|passphrase|pwd|contraseña|secret|token|key")


def find(text: str) -> list[Span]:
    """In the order of the text. What is two things at once (a password that is also a known provider's key) is the more
    telling one: keys before cards before phone numbers."""
    found: list[Span] = []  # in order, none over another
    for span in _all(text):
        at = bisect_left(found, span.start, key=lambda other: other.start)
        if (at == 0 or found[at - 1].end <= span.start) and (at == len(found) or span.end <= found[at].start):
            found.insert(at, span)
    return found


def _all(text: str) -> list[Span]:
    spans: list[Span] = []
    if _may_hold_keys(text):
        spans += keys_in(text)
    spans += emails_in(text)
    if _FEWEST_DIGITS.search(text):
        spans += [*cards_in(text), *ibans_in(text), *ssns_in(text), *ips_in(text), *phones_in(text)]
    return spans


_KEY_STARTS = (
    "sk-", "AKIA", "ASIA", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "xox", "xapp-", "hooks.slack.com",
    "k_live_", "k_test_", "whsec_", "AIza", "GOCSPX-", "ya29.", "hf_", "api_org_", "npm_", "pypi-", "SG.", "dop_v1_",
    "eyJ", "PRIVATE KEY", "://", "gl",
)  # fmt: skip


def _may_hold_keys(text: str) -> bool:
    return any(start in text for start in _KEY_STARTS) or bool(_NAMES.search(text))


# ---- a line of a file, before it is parsed ----

_WORD = bytes(ord("a") if (chr(at).isalnum() and at < 128) or at in b"_-/+" else 32 for at in range(256))
_DIGIT = bytes(ord("0") if at in b"0123456789" else 46 if at == 46 else 32 for at in range(256))
_SEPARATORS = b" ().-/\t" + bytes(range(128, 256))  # that may stand between the digits of one number
_LONG_WORD = b"a" * 20  # the shortest key of a provider has 20 characters
_LINE_WORDS = (b"passw", b"passphrase", b"pwd", b"secret", b"token", b"key", b"contrase")
_LINE_NAMES = re.compile(
    rb"(?:passw|passphrase|pwd|secret|token|key|contrase)[a-z\xc2-\xf4\x80-\xbf]{0,4}[\\\"'`* ]{0,8}(?:[:=]|is|es)"
)
_LINE_DIGITS = re.compile(rb"\d(?:(?:[ ().\-/\x80-\xff]|\\u[0-9a-fA-F]{4}|\\t){0,6}\d){6}")
_LINE_ADDRESS = re.compile(rb"\d\.\d{1,3}\.\d{1,3}\.\d")
_LINE_IPV6 = re.compile(rb":[0-9A-Fa-f]{1,4}:[0-9A-Fa-f]{1,4}:")


def may_hold(line: bytes) -> bool:
    """Whether a line of JSON is worth parsing: False only where no finder could find anything.

    Translating a line to classes of characters and searching for a run of one class is many times faster than
    searching for each beginning of a key, or than a pattern."""
    if b"@" in line or b"::" in line or b"PRIVATE KEY" in line or b"\\u00" in line:  # an escape may stand for any sign
        return True
    if _LONG_WORD in line.translate(_WORD) or b"0000000" in line.translate(_DIGIT, _SEPARATORS):
        return True
    if b"0.0" in line.translate(_DIGIT) and _LINE_ADDRESS.search(line):
        return True
    if _LINE_IPV6.search(line) or ((b"\\u2" in line or b"\\t" in line) and _LINE_DIGITS.search(line)):
        return True
    lower = line.lower()
    return any(word in lower for word in _LINE_WORDS) and bool(_LINE_NAMES.search(lower))


# ---- showing ----


def masked(kind: str, value: str) -> str:
    """Enough to recognise it by, never enough to use it."""
    if kind == "email":
        local, _, domain = value.partition("@")
        return f"{local[:1]}…@{domain[:1]}….{domain.rpartition('.')[2]}"
    if kind in ("phone", "iban", "card", "ssn"):
        first = 2 if kind == "iban" else 3 if value.startswith("+") else 1
        return f"{value[:first]}…{value[-2:]}"
    if kind == "ip":
        return f"{re.split('[.:]', value)[0]}.…"
    if kind == "private_key":
        return "-----BEGIN … PRIVATE KEY…"
    if kind in ("password", "jwt", "aws_secret"):
        return "•••"
    shown = re.match(r"[A-Za-z]{2,6}[_\-]|[A-Z]{4}", value)
    return f"{shown.group() if shown else value[:2]}…"


def masked_text(text: str, spans: list[Span]) -> tuple[str, list[tuple[int, int]]]:
    """The text with everything that was found masked, and where each masked piece now stands."""
    parts: list[str] = []
    places: list[tuple[int, int]] = []
    length = end = 0
    for span in spans:
        between, mask = text[end : span.start], masked(span.kind, text[span.start : span.end])
        parts += [between, mask]
        places.append((length + len(between), length + len(between) + len(mask)))
        length, end = places[-1][1], span.end
    return "".join([*parts, text[end:]]), places


def excerpts(text: str, spans: list[Span]) -> list[tuple[str, str, str]]:
    """Of each find: a little before it, itself, a little after it, all masked."""
    whole, places = masked_text(text, spans)
    return [
        (
            ("…" if start > CONTEXT else "") + whole[max(0, start - CONTEXT) : start],
            whole[start:end],
            whole[end : end + CONTEXT] + ("…" if end + CONTEXT < len(whole) else ""),
        )
        for start, end in places
    ]


def redacted(text: str, spans: list[Span]) -> str:
    """With a placeholder such as [E-MAIL] in place of each."""
    parts: list[str] = []
    end = 0
    for span in sorted(spans, key=lambda span: span.start):
        parts += [text[end : span.start], KINDS[span.kind].placeholder]
        end = span.end
    return "".join([*parts, text[end:]])
