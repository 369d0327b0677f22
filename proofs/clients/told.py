"""How a program's rows tell the runner: one JSON line for each. Standard library alone."""

import json
import time
import traceback
from collections.abc import Callable
from pathlib import Path

ABSENT = "not in this SDK"
FOLDER = str(Path(__file__).parent)


class NotInThisSdk(Exception):
    """This version has no words for it."""


def tell(row: str, check: Callable[[], None]) -> None:
    began = time.monotonic()
    said = verdict(check)
    print(json.dumps({"row": row, "said": said, "seconds": round(time.monotonic() - began, 1)}), flush=True)


def verdict(check: Callable[[], None]) -> str:
    """Empty when it passed."""
    try:
        check()
    except NotInThisSdk:
        return ABSENT
    except Exception as error:  # any failure is a cell of the table
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(FOLDER)]
        where = [frame for frame in frames if not frame.filename.endswith("stage.py")][-1]  # the row, not its helpers
        said = str(error) or where.line or ""
        return f"{Path(where.filename).name}:{where.lineno} {type(error).__name__}: {said[:300]}"
    return ""
