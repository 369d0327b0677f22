"""Who may load what, seen in fresh interpreters."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
WEB_CODE = ["django", "channels", "dramatiq", "ninja", "accounts", "dashboard", "playground"]


def loaded_by(modules: list[str], forbidden: list[str]) -> str:
    """The forbidden top-level packages that importing these modules loads."""
    code = (
        f"import importlib, sys\nfor m in {modules}: importlib.import_module(m)\n"
        f"print(sorted({{name.split('.')[0] for name in sys.modules}} & set({forbidden})))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_what_the_site_imports_of_the_engine_loads_no_torch() -> None:
    modules = [
        f"training.engine.{name}"
        for name in (
            "spec",
            "errors",
            "chat",
            "estimate",
            "resolve",
            "memory",
            "facts",
            "machine",
            "weights",
            "text",
            "blocks",
            "row_losses",
        )
    ]
    assert loaded_by(modules, ["torch", "transformers", "peft", "accelerate", "numpy"]) == "[]"


def test_no_module_of_the_engine_loads_web_code() -> None:
    modules = [f"training.engine.{path.stem}" for path in sorted((ROOT / "training/engine").glob("*.py"))]
    assert "training.engine.sft" in modules
    assert loaded_by(modules, WEB_CODE) == "[]"
