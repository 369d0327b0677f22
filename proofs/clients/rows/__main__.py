"""Runs the rows with the SDK of this interpreter and prints one JSON line for each.

    HONE_URL=http://127.0.0.1:8000 HONE_KEYS='{"key": ...}' python -m proofs.clients.rows [WORD ...]

With words only rows whose name holds one of them.
"""

import sys
from functools import partial

from proofs.clients.rows.stage import ROWS, Stage
from proofs.clients.told import tell


def main() -> None:
    from proofs.clients import rows  # noqa: F401 - they enter themselves

    stage, words = Stage.from_environment(), sys.argv[1:]
    for each in ROWS:
        if not words or any(word in each.name for word in words):
            tell(each.name, partial(each.check, stage))


if __name__ == "__main__":
    main()
