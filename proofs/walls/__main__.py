"""What every page, call and socket answers to whom: docs/walls.md.

    python -m proofs.walls [--check]

A Hone of its own in a folder that is thrown away, a project with one of everything, and real requests by everybody:
nothing in the table is typed. --check writes nothing and ends with 1 when the document is not what would be written
(a test does the same).
"""

import argparse
import os
import tempfile

from proofs.server import ROOT


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing, end with 1 when it is out of date")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        os.environ |= {"HONE_TEST_HOME": home, "DJANGO_SETTINGS_MODULE": "tests.settings"}
        text = written()
    document = ROOT / "docs" / "walls.md"
    if options.check:
        return int(document.read_text() != text)
    document.write_text(text)
    print(f"{document}: {text.count(chr(10))} lines")
    return 0


def written() -> str:
    import django

    django.setup()
    from django.test.runner import DiscoverRunner
    from django.test.utils import setup_test_environment

    from proofs.walls import table

    setup_test_environment()
    runner = DiscoverRunner(verbosity=0)
    made = runner.setup_databases()
    try:
        return table.document(table.asked_everything(*table.PARTS))
    finally:
        runner.teardown_databases(made)


if __name__ == "__main__":
    raise SystemExit(main())
