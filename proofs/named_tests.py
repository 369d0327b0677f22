"""Tests that are named, run once together, and told of each how it went."""

import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from proofs.server import ROOT


@dataclass(frozen=True)
class TestResult:
    outcome: str  # passed | failed | skipped
    seconds: float


def run(names: Iterable[str]) -> dict[str, list[TestResult]]:
    """By name, as given: `tests/engine/test_x.py::test_y[case]`, or without [case] for all cases of a test."""
    asked = list(dict.fromkeys(names))
    with tempfile.TemporaryDirectory(prefix="hone-tests-") as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", *asked]
        subprocess.run(command, cwd=ROOT, check=False)
        found = dict(_cases(report)) if report.exists() else {}
    return {
        name: [result for case, result in found.items() if case == name or case.startswith(f"{name}[")]
        for name in asked
    }


def _cases(report: Path) -> Iterable[tuple[str, TestResult]]:
    for case in ElementTree.parse(report).iter("testcase"):
        name = f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name')}"
        children = {child.tag for child in case}
        outcome = "failed" if children & {"failure", "error"} else "skipped" if "skipped" in children else "passed"
        yield name, TestResult(outcome, float(case.get("time", 0)))
