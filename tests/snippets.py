"""The Python in docs/*.md that is run: a block below `<!-- run -->`, or `<!-- run: model -->` where a model answers.

The blocks of a page are one program, in their order.
"""

import re
from pathlib import Path
from types import CodeType

DOCS = Path(__file__).resolve().parent.parent / "docs"
RUN = re.compile(r"<!-- run(: model)? -->\n```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
BASE = "SmolLM2-135M-Instruct"  # as the pages call it


def pages() -> list[Path]:
    """Those with something to run."""
    return [path for path in sorted(DOCS.glob("*.md")) if RUN.search(path.read_text(encoding="utf-8"))]


def program(path: Path, *, model: str, asking: bool) -> CodeType:
    """With `model` as the base; `asking`: also the blocks that want an answer of it. Line numbers are the page's."""
    text = path.read_text(encoding="utf-8")
    lines = [""] * text.count("\n")
    for found in RUN.finditer(text):
        if asking or not found[1]:
            start = text.count("\n", 0, found.start(2))
            code = found[2].splitlines()
            lines[start : start + len(code)] = code
    return compile("\n".join(lines).replace(BASE, model), str(path), "exec")
