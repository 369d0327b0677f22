"""What every page, call and socket answers to whom: docs/walls.md.

    python -m proofs.walls [--check]

A Hone of its own in a folder that is thrown away, a project with one of everything, and real requests by everybody:
nothing in the table is typed. Where an answer is not what dashboard/walls.py says, or something crosses the wall of a
project, it says so, writes nothing and ends with 1. --check never writes, and ends with 1 too when the document is not
what would be written.
"""

import argparse
import logging
import os
import tempfile

from proofs.server import ROOT


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing, end with 1 when it is out of date")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        os.environ |= {"HONE_TEST_HOME": home, "DJANGO_SETTINGS_MODULE": "tests.settings"}
        text, wrong = written()
    if wrong:
        print("\n".join([*wrong, f"{len(wrong)} faults"]))
        return 1
    print("0 faults")
    document = ROOT / "docs" / "walls.md"
    if options.check:
        return int(document.read_text() != text)
    document.write_text(text)
    print(f"{document}: {text.count(chr(10))} lines")
    return 0


def written() -> tuple[str, list[str]]:
    """The document, and what is wrong with what it says."""
    import django

    django.setup()
    from django.test.runner import DiscoverRunner
    from django.test.utils import setup_test_environment

    from proofs.walls import table, verdict

    logging.getLogger("django.request").setLevel(logging.ERROR)  # refusals are what is looked for
    setup_test_environment()
    runner = DiscoverRunner(verbosity=0)
    made = runner.setup_databases()
    try:
        found = table.asked_everything(*table.PARTS)
    finally:
        runner.teardown_databases(made)
    print("\n".join(table.figures(found)))
    return table.document(found), verdict.faults(found)


if __name__ == "__main__":
    raise SystemExit(main())
