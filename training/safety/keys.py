"""Secrets in a text: the keys of known providers by their published shapes, private keys, JSON web tokens, and what
stands after `password=`, `token:` and the like.

Own patterns, because detect-secrets (1.5, the library for this) reads source code line by line: it tells no place in
the line, knows no Anthropic and no Hugging Face keys, and takes about 30 patterns to each line.
"""

import base64
import binascii
import json
import math
import re
from collections import Counter
from collections.abc import Iterator

from training.safety.kinds import Span

_LEFT = r"(?<![A-Za-z0-9_\-])"  # not in the middle of a word such as "task-"


def _key(pattern: str) -> re.Pattern[str]:
    return re.compile(f"{_LEFT}(?:{pattern})")


# kind, texts of which one stands in every match, the shape
PROVIDERS: list[tuple[str, tuple[str, ...], re.Pattern[str]]] = [
    ("anthropic_key", ("sk-ant-",), _key(r"sk-ant-[a-z]{2,8}\d{2}-[\w\-]{24,}")),
    ("openai_key", ("sk-",), _key(r"sk-(?:proj|svcacct|admin|None)-[\w\-]{24,}|sk-[A-Za-z0-9]{32,}(?![\w\-])")),
    ("aws_key", ("AKIA", "ASIA"), _key(r"A[KS]IA[A-Z0-9]{16}(?![A-Za-z0-9])")),
    ("github_token", ("gh", "github_pat_"), _key(r"gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9]{22}_\w{59}")),
    ("gitlab_token", ("gl",), _key(r"gl(?:pat|dt|rt|cbt|ptt|ft|imt|agent|soat|oas)-[\w\-]{20,}(?:\.[\w.\-]+)?")),
    ("slack_token", ("xox", "xapp-"), _key(r"xox[abeoprs]-(?=[\w\-]*\d)[A-Za-z0-9\-]{16,}|xapp-\d-[\w\-]{20,}")),
    (
        "slack_token",
        ("hooks.slack.com",),
        re.compile(r"https://hooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9+/]{24,}"),
    ),
    ("stripe_key", ("k_live_", "k_test_", "whsec_"), _key(r"[rs]k_(?:live|test)_[A-Za-z0-9]{16,}|whsec_\w{24,}")),
    ("google_key", ("AIza", "GOCSPX-", "ya29."), _key(r"AIza[\w\-]{35}(?![\w\-])|GOCSPX-[\w\-]{28}|ya29\.[\w\-]{30,}")),
    ("huggingface_token", ("hf_", "api_org_"), _key(r"(?:hf|api_org)_[A-Za-z0-9]{30,}")),
    (
        "other_key",
        ("npm_", "pypi-", "SG.", "dop_v1_"),
        _key(r"npm_[A-Za-z0-9]{36}|pypi-AgEIcHlwaS5vcmc[\w\-]{50,}|SG\.[\w\-]{22}\.[\w\-]{43}|dop_v1_[0-9a-f]{64}"),
    ),
]
_AWS_ID = re.compile(r"(?<![A-Za-z0-9])A[KS]IA[A-Z0-9]{16}(?![A-Za-z0-9])")
_AWS_SECRET = re.compile(r"(?<![A-Za-z0-9/+\-])[A-Za-z0-9/+]{40}(?![A-Za-z0-9_/+=\-])")  # AWS publishes no more of it
_BESIDE = 200  # characters between an access key's id and its secret
_NAMED_SECRET = re.compile(
    r"(?i)secret(?:[_\- ]?(?:access[_\- ]?)?key)?"
    r"(?:[\s\"'`*:=>(]{1,8}|\s{1,3}(?:is|was|ist|es)[\s\"'`*:=(]{1,4})"
    r"([A-Za-z0-9/+]{32,64})(?![A-Za-z0-9_/+=\-])"
)
_HEX_KEY = re.compile(r"[0-9a-f]{40}")
_PRIVATE_KEY = re.compile(r"-----BEGIN ((?:[A-Z0-9]+ ){0,3})PRIVATE KEY( BLOCK)?-----")
_BODY = re.compile(r"[A-Za-z0-9+/=\s\\:,.()]{0,20000}")  # of a key without its last line
_JWT = re.compile(r"(?<![\w\-])(eyJ[\w\-]{10,})\.eyJ[\w\-]{8,}\.[\w\-]{16,}")
_IN_URL = re.compile(r"(?<![A-Za-z])[A-Za-z][A-Za-z0-9+.\-]{1,20}://[^\s:/@\"'<>]{1,64}:([^\s/@\"'<>]{3,128})@")
_ASSIGNED = re.compile(
    r"(?i)(?:(?P<password>passwords?|passwd|passphrase|pwd|passwort|contraseña)"
    r"|(?-i:(?<![A-Za-z])|(?<=[a-z])(?=[STK]))(?:secret|token|(?:api|access|auth|secret|private|license)?[_\- ]?key))"
    r"(?P<join>[\"'`*]{0,3} {0,3}(?:=>|:=|==?|:|\bis\b:?|\bist\b|\bes\b)\s{0,3}[\"'`*]{0,3})"
    r"(?P<value>[^\s\"'`,;<>(){}\[\]]{6,256})"
)
_SYMBOL = re.compile(r"[!@#$%^&*?+~=]")
_PLACEHOLDER = re.compile(r"(?i)x{4}|\*{3}|\.{3}|…|your|example|placeholder|redacted|changeme|change_me|dummy|insert")
_NO_SECRET = re.compile(rf"{_PLACEHOLDER.pattern}|^[$%]|^os\.|^process\.|^env\.|^https?:|^/")
_UUID = re.compile(r"(?i)[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_IDENTIFIER = re.compile(r"[A-Za-z_]\w*(?:(?:\.|->|::)[A-Za-z_]\w*)+|[a-z]+(?:_[a-z0-9]+)+|[A-Z]+(?:_[A-Z0-9]+)+")
LEAST_ENTROPY = 3.0  # bits a character of a key that only its name tells
LEAST_KEY = 16  # characters
LEAST_VARIETY = 4.2  # bits a character: 40 at random have 4.7, a path or a hash at most 4.1


def keys_in(text: str) -> Iterator[Span]:
    """Known shapes first, so that what also has a telling name keeps its provider."""
    yield from _private_keys(text)
    for kind, literals, pattern in PROVIDERS:
        if any(literal in text for literal in literals):
            for match in pattern.finditer(text):
                if not is_placeholder(match.group()):
                    yield Span(kind, match.start(), match.end())
    if "eyJ" in text:
        for match in _JWT.finditer(text):
            if _is_jwt_head(match.group(1)):
                yield Span("jwt", match.start(), match.end())
    yield from _secrets_beside_aws_ids(text)
    if "ecret" in text or "ECRET" in text:
        yield from _named_secrets(text)
    if "://" in text and "@" in text:
        for match in _IN_URL.finditer(text):
            if not _NO_SECRET.search(match.group(1)):
                yield Span("password", *match.span(1))
    yield from _assigned(text)


def _secrets_beside_aws_ids(text: str) -> Iterator[Span]:
    """Only there is a run of 40 characters taken for one: elsewhere it may be anything."""
    if "AKIA" not in text and "ASIA" not in text:
        return
    for key in _AWS_ID.finditer(text):
        for match in _AWS_SECRET.finditer(text, max(0, key.start() - _BESIDE - 40), key.end() + _BESIDE + 41):
            if match.end() <= key.end() + _BESIDE + 40 and _is_varied(match.group()):
                yield Span("aws_secret", *match.span())


def _named_secrets(text: str) -> Iterator[Span]:
    """What stands right after "secret", "secret key" and the like, with or without a sign between."""
    for match in _NAMED_SECRET.finditer(text):
        value = match.group(1)
        if _is_varied(value):
            yield Span("aws_secret" if len(value) == 40 else "password", *match.span(1))
        elif _HEX_KEY.fullmatch(value) and entropy(value) >= LEAST_ENTROPY:  # a commit's hash, but for the word
            yield Span("password", *match.span(1))


def _is_varied(value: str) -> bool:
    """As only chance writes: small and capital letters, digits, few of them twice; no hash, path or word."""
    kinds = any(map(str.islower, value)), any(map(str.isupper, value)), any(map(str.isdigit, value))
    return all(kinds) and entropy(value) >= LEAST_VARIETY and not is_placeholder(value)


def _private_keys(text: str) -> Iterator[Span]:
    """From the first line of one to its last, or as far as it goes."""
    if "PRIVATE KEY" not in text:
        return
    done, endless = 0, set[str]()  # last lines that do not come any more: each is looked for once
    for match in _PRIVATE_KEY.finditer(text):
        last = f"-----END {match.group(1)}PRIVATE KEY{match.group(2) or ''}-----"
        if match.start() < done:
            continue
        end = text.find(last, match.end()) if last not in endless else -1
        if end >= 0:
            done = end + len(last)
            yield Span("private_key", match.start(), done)
            continue
        endless.add(last)
        body = _BODY.match(text, match.end())
        if body and len(body.group().strip()) > 40:  # the first line alone is talk about keys
            done = match.end() + len(body.group().rstrip())
            yield Span("private_key", match.start(), done)


def _is_jwt_head(part: str) -> bool:
    try:
        head = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        return False
    return isinstance(head, dict) and "alg" in head


def _assigned(text: str) -> Iterator[Span]:
    """What stands after the name of a secret."""
    for match in _ASSIGNED.finditer(text):
        value = match.group("value").rstrip(".:!?\\*")
        start = match.start("value")
        called = text[match.end("value") : match.end("value") + 1] in ("(", "[", "{", "<")  # code: a function's name
        if called or _NO_SECRET.search(value) or _IDENTIFIER.fullmatch(value):
            continue
        if match.group("password"):
            good = len(value) >= 6 and _looks_chosen(value)
        else:
            written = "is" not in match.group("join").lower() or len(value) >= 20
            good = written and _looks_random(value)
        if good:
            yield Span("password", start, start + len(value))


def _looks_chosen(value: str) -> bool:
    """A password that somebody chose: letters with digits or signs, and no plain word, number, date or amount."""
    letters = any(letter.isalpha() for letter in value)
    return letters and (any(letter.isdigit() for letter in value) or bool(_SYMBOL.search(value)))


def _looks_random(value: str) -> bool:
    if len(value) < LEAST_KEY or _UUID.fullmatch(value):
        return False
    mixed = any(letter.isdigit() for letter in value) and any(letter.isalpha() for letter in value)
    return mixed and entropy(value) >= LEAST_ENTROPY


def is_placeholder(value: str) -> bool:
    """What stands in documentation in place of a key: sk-xxxx, AKIAIOSFODNN7EXAMPLE, hf_your_token."""
    return bool(_PLACEHOLDER.search(value)) or len(set(value)) < 8


def entropy(value: str) -> float:
    """Bits a character, by how often each character of this text occurs in it."""
    count = len(value)
    return -sum(seen / count * math.log2(seen / count) for seen in Counter(value).values())
