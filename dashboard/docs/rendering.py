"""A file of docs/ as HTML: links to the other pages, headings to link to, code with a button, tables that scroll."""

import re
from dataclasses import dataclass, field
from functools import lru_cache
from html import unescape
from pathlib import Path
from typing import Any, Final

from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.safestring import SafeString, mark_safe
from markdown import Markdown

from dashboard.docs import pages

EXTENSIONS: Final = ("fenced_code", "tables", "toc", "sane_lists")
COMMENT: Final = re.compile(r"<!--.*?-->\n?", re.DOTALL)
FENCE: Final = re.compile(r"^(`{3,}).*?^\1\s*$", re.DOTALL | re.MULTILINE)
LIST_WITHOUT_GAP: Final = re.compile(r"^(?![-*|>#\s]|\d+\.)(.+)\n(?=(?:[-*]|\d+\.) )", re.MULTILINE)
LINK: Final = re.compile(r'<a href="(?!https?:|/|#|mailto:)([^"#]*)(#[^"]*)?">(.*?)</a>', re.DOTALL)
IMAGE: Final = re.compile(r'src="img/([\w.-]+)"')
CODE: Final = r'<pre><code(?: class="language-([\w-]+)")?>(.*?)</code></pre>'
CODES: Final = re.compile(rf"(?:{CODE}\s*)+", re.DOTALL)
STYLE: Final = re.compile(r' style="text-align: (left|right|center);"')
TAG: Final = re.compile(r"<[^>]+>")
LANGUAGES: Final = {"python": "Python", "bash": "Terminal", "sh": "Terminal", "js": "Node", "javascript": "Node"}


@dataclass(frozen=True)
class Rendered:
    html: SafeString
    title: str
    headings: list[dict[str, Any]] = field(default_factory=list)  # id, name, level (2 or 3)


def render(page: pages.Page) -> Rendered:
    return _render(page.path, page.path.stat().st_mtime_ns)


@lru_cache(maxsize=64)
def _render(path: Path, changed: int) -> Rendered:
    """`changed` makes a file that was edited be read again."""
    return as_html(path.read_text(encoding="utf-8"))


def as_html(text: str) -> Rendered:
    markdown = Markdown(extensions=[*EXTENSIONS], extension_configs={"toc": {"slugify": slug}}, tab_length=2)
    html = markdown.convert(_as_github_reads_it(COMMENT.sub("", text)))
    html = LINK.sub(_link, html)
    html = IMAGE.sub(lambda found: f'src="{reverse("docs-image", args=[found[1]])}" loading="lazy"', html)
    html = STYLE.sub(r' class="docs__align-\1"', html)
    html = CODES.sub(_codes, html)
    html = html.replace("<table>", '<div class="table-wrap" tabindex="0"><table class="table table--plain">')
    html = html.replace("</table>", "</table></div>")
    html = re.sub(r'<h([23]) id="([^"]+)">(.*?)</h\1>', _heading, html)
    tokens = markdown.toc_tokens  # type: ignore[attr-defined]
    return Rendered(mark_safe(html), unescape(tokens[0]["name"]) if tokens else "", list(_headings(tokens)))


def slug(words: str, separator: str) -> str:
    """As GitHub makes them, so that a link works there, too."""
    return re.sub(r"[^\w\- ]", "", words.lower()).strip().replace(" ", separator)


def _as_github_reads_it(text: str) -> str:
    """A list may begin right under a sentence."""
    kept: list[str] = []

    def put_away(found: re.Match[str]) -> str:
        kept.append(found[0])
        return f"\x02{len(kept) - 1}\x03"

    text = FENCE.sub(put_away, text)
    text = LIST_WITHOUT_GAP.sub(r"\1\n\n", text)
    return re.sub(r"\x02(\d+)\x03", lambda found: "\n" + kept[int(found[1])] + "\n", text)


def _link(found: re.Match[str]) -> str:
    """To a page of ours, else the words alone: what lies outside docs/ is in the repository, not here."""
    page = pages.find(found[1].removesuffix(".md"))
    if page is None:
        return found[3]
    return f'<a href="{reverse("docs-page", args=[page.slug])}{found[2] or ""}">{found[3].removesuffix(".md")}</a>'


def _heading(found: re.Match[str]) -> str:
    level, anchor, words = found.groups()
    link = f'<a class="docs__anchor" href="#{anchor}" aria-label="Link to this heading">#</a>'
    return f'<h{level} id="{anchor}">{words}{link}</h{level}>'


def _headings(tokens: list[dict[str, Any]]) -> Any:
    for token in tokens:
        if token["level"] in (2, 3):
            yield {"id": token["id"], "name": unescape(token["name"]), "level": token["level"]}
        yield from _headings(token["children"])


def _codes(found: re.Match[str]) -> str:
    """One block, or several that say the same in different languages: tabs."""
    blocks = [
        {"language": language, "name": LANGUAGES.get(language, language), "code": mark_safe(code.rstrip())}
        for language, code in re.findall(CODE, found[0], re.DOTALL)
    ]
    if len({block["name"] for block in blocks}) == len(blocks):
        return codes(blocks)
    return "".join(codes([block]) for block in blocks)


def codes(blocks: list[dict[str, Any]]) -> SafeString:
    return render_to_string("docs/code.html", {"blocks": blocks})


def words_of(html: str) -> str:
    return " ".join(unescape(TAG.sub(" ", html)).split())


def sections(rendered: Rendered) -> list[dict[str, str]]:
    """For the search: what stands under each heading, the first without one of its own."""
    parts = re.split(r'<h[23] id="([^"]+)">(.*?)</h[23]>', rendered.html)
    found = [{"anchor": "", "heading": "", "text": words_of(parts[0])}]
    for anchor, heading, text in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
        found.append({"anchor": anchor, "heading": words_of(heading).removesuffix("#").strip(), "text": words_of(text)})
    return found
