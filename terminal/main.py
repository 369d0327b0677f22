"""`hone models|upload|train|jobs|watch|cancel|pause|resume|compare|chat`; `hone COMMAND --help` tells each."""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

import openai

from terminal import chat, compare, jobs, models, train, upload, watch
from terminal.client import NOT_READ, REFUSED, STOPPED, UNREACHABLE, connect, give_up, words_of

ABOUT = """Fine-tune and ask models on a Hone server from the terminal.

  HONE_URL       its address, such as http://127.0.0.1:8000   (or OPENAI_BASE_URL)
  HONE_API_KEY   a key from Settings, API keys                 (or OPENAI_API_KEY)

Exit codes: 0 done, 1 refused or failed, 2 wrong use, 3 the server does not answer, 130 stopped by Ctrl-C,
141 nobody reads on (`hone jobs | head -1`)."""


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser("hone", description=ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--version", action="version", version=f"hone {version('hone')}")
    commands = found.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in (models, upload, train, jobs, watch, compare, chat):
        module.add_to(commands)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code."""
    asked = parser().parse_args(arguments)
    try:
        code = int(asked.run(connect(), asked))
        sys.stdout.flush()  # a reader that has left shows here, not when the interpreter ends
        return code
    except BrokenPipeError:  # `hone jobs | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still buffered
        return NOT_READ
    except openai.APIConnectionError as error:
        give_up(f"hone: {words_of(error)}", UNREACHABLE)
    except openai.APIError as error:
        give_up(f"hone: {words_of(error)}", REFUSED)
    except FileNotFoundError as error:
        give_up(f"hone: There is no file {error.filename}.")
    except IsADirectoryError as error:
        give_up(f"hone: {error.filename} is a folder. Give a JSONL file.")
    except OSError as error:  # a file that cannot be read
        give_up(f"hone: {error}", REFUSED)
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return STOPPED


if __name__ == "__main__":
    raise SystemExit(main())
