"""The code of the docs against a running Hone with the starter model, the questions to the trained model included.

    python -m proofs.snippets

Talks to the Hone at HONE_URL (default: this machine's), or starts one. Ends with 1 when a page's code failed.
"""

import os
import sys
import time
import traceback

from proofs.screen import Screen
from proofs.server import find_or_start
from tests import snippets


def main() -> None:
    failed = []
    with find_or_start(Screen()) as hone:
        os.environ |= {"OPENAI_BASE_URL": hone.api, "OPENAI_API_KEY": hone.key}
        for page in snippets.pages():
            began = time.monotonic()
            print(f"== docs/{page.name}", flush=True)
            try:
                exec(snippets.program(page, model=snippets.BASE, asking=True), {"__name__": "__main__"})
            except Exception:
                traceback.print_exc()
                failed.append(page.name)
            print(f"   {time.monotonic() - began:.0f} s", flush=True)
    print(f"{len(snippets.pages())} pages; failed: {', '.join(failed) or 'none'}")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
