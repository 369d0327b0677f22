"""The pages under /docs: docs/*.md in this order. A file that is not named here is not served (a test finds it)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from django.conf import settings

FOLDER: Final[Path] = settings.BASE_DIR / "docs"
CONTENTS: Final[dict[str, tuple[str, ...]]] = {
    "Start": ("quick-start", "fine-tuning", "import"),
    "Data": ("intake", "rows", "dataset-rules", "repeats", "safety", "refusals"),
    "Training": ("methods", "recipes", "preferences", "tools", "estimates", "trackers", "export"),
    "Comparing": ("playground", "matrices", "campaigns", "statistics"),
    "API": ("api", "differences", "clients", "webhooks", "limits", "terminal", "usage"),
    "Running it": ("serving", "several-gpus", "growing", "keys", "walls", "quotas", "audit", "your-data"),
    "Background": ("benchmarks", "experiments"),
}


@dataclass(frozen=True)
class Page:
    """`slug` is its address under /docs and its file's name."""

    slug: str
    group: str

    @property
    def path(self) -> Path:
        return FOLDER / f"{self.slug}.md"

    @property
    def title(self) -> str:
        """The file's first heading."""
        with self.path.open(encoding="utf-8") as lines:
            return next((line.lstrip("# ").strip() for line in lines if line.startswith("# ")), self.slug)


def pages() -> list[Page]:
    """Those that are there, in order."""
    named = [Page(slug, group) for group, slugs in CONTENTS.items() for slug in slugs]
    return [page for page in named if page.path.is_file()]


def find(slug: str) -> Page | None:
    return next((page for page in pages() if page.slug == slug), None)
