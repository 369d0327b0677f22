"""Numbers as people read them: units, sensible precision, exact value on hover."""

import re
from datetime import datetime

from django import template
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

register = template.Library()
DASH = "–"
ABSENT = (None, "")  # a template gives "" for an attribute of nothing


@register.filter
def within(label: str) -> str:
    """A label inside a sentence: Batch size becomes batch size, LoRA rank stays."""
    return label[:1].lower() + label[1:] if re.match(r"[A-Z][a-z]*\b", label) else label


@register.filter
def loss(value: float | None) -> str:
    """Four significant digits."""
    return DASH if value in ABSENT else f"{value:.4g}"


@register.filter
def percent(value: float | None) -> str:
    """A share of 1 as per cent with one decimal."""
    return DASH if value in ABSENT else f"{value * 100:.1f} %"


@register.filter
def share(value: float | None) -> str:
    """A share of 1 as a whole number of per cent, for bars and tight places."""
    return "0" if value is None else f"{value * 100:.0f}"


@register.filter
def points(value: float | None) -> str:
    """A difference of two shares in percentage points, with its sign."""
    return DASH if value in ABSENT else f"{value * 100:+.1f}".replace("-", "−")


@register.filter
def brief(value: float | None) -> str:
    """Seconds of an answer: '0.21 s', '12 s'."""
    return DASH if value in ABSENT else f"{value:.2f} s" if value < 10 else f"{value:.0f} s"


@register.filter
def money(value: float | None, currency: str = "$") -> str:
    """$2.40; amounts under a cent keep two digits that count."""
    if value in ABSENT:
        return DASH
    return f"{currency}{value:,.2f}" if value >= 0.01 or not value else f"{currency}{value:.2g}"


@register.filter
def count(value: float | None) -> str:
    """1,234 up to a million, then 1.2 M or 3.4 B."""
    if value in ABSENT:
        return DASH
    for limit, unit in ((1e9, "B"), (1e6, "M")):
        if abs(value) >= limit:
            return f"{value / limit:.3g} {unit}"
    return f"{value:,.0f}"


@register.filter
def size(value: float | None) -> str:
    """Bytes as kB, MB, GB (powers of 1000, as disks are sold)."""
    if value in ABSENT:
        return DASH
    amount = float(value)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(amount) < 1000 or unit == "TB":
            return f"{amount:.0f} B" if unit == "B" else f"{amount:.3g} {unit}"
        amount /= 1000
    return DASH


@register.filter
def duration(value: float | None) -> str:
    """Seconds as '2 min 14 s' or '3 h 05 min'."""
    if value in ABSENT:
        return DASH
    seconds = round(value)
    if seconds < 1:
        return "under 1 s"
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"


@register.filter
def ago(value: datetime | None) -> SafeString | str:
    """'3 min ago' in a <time> whose title is the exact moment; app.js keeps it fresh."""
    if value in ABSENT:
        return DASH
    exact = value.astimezone(timezone.get_current_timezone())
    return format_html(
        '<time datetime="{}" title="{}" data-ago>{}</time>',
        exact.isoformat(),
        exact.strftime("%Y-%m-%d %H:%M:%S %Z"),
        _ago((timezone.now() - value).total_seconds()),
    )


@register.filter
def clock(value: datetime) -> SafeString:
    """'14:02:31' in a <time> whose title has the day."""
    exact = value.astimezone(timezone.get_current_timezone())
    shown, title = exact.strftime("%H:%M:%S"), exact.strftime("%Y-%m-%d %H:%M:%S %Z")
    return format_html('<time datetime="{}" title="{}">{}</time>', exact.isoformat(), title, shown)


def _ago(seconds: float) -> str:
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= length:
            return f"{int(seconds // length)} {unit} ago"
    return "just now"


@register.filter
def coded(text: str) -> SafeString:
    """What stands between two backticks, as code."""
    parts = re.split(r"`([^`]*)`", text)  # every other one stood between them
    return format_html_join(
        "", "{}", ((format_html("<code>{}</code>", x) if n % 2 else x,) for n, x in enumerate(parts))
    )


@register.filter
def breakable(path: str) -> SafeString:
    """A path that breaks at its slashes where it does not fit on a line."""
    return format_html_join(mark_safe("/<wbr>"), "{}", ((part,) for part in path.split("/")))
