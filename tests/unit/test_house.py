"""Rules of the house that a machine can check."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def settings_read() -> set[str]:
    """Names after HONE_ that the code reads from the environment."""
    names: set[str] = set()
    for folder in ("accounts", "dashboard", "playground", "training"):
        for path in (ROOT / folder).rglob("*.py"):
            source = path.read_text()
            names |= set(re.findall(r'environ(?:\.get\(|\[)"HONE_([A-Z_]+)"', source))
            if path.name == "settings.py":
                names |= set(re.findall(r'env\.\w+\("([A-Z_]+)"', source))
    return names


def test_env_example_lists_every_setting_and_no_other():
    listed = set(re.findall(r"^# HONE_([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.M))
    internal = {"LAUNCH_PARENT"}
    assert listed == settings_read() - internal


def test_templates_have_no_inline_script_style_or_handler():
    for path in (ROOT / "templates").rglob("*.html"):
        source = path.read_text()
        assert not re.search(r"<script(?![^>]*\bsrc=)(?![^>]*application/json)[^>]*>\s*\S", source), path
        assert not re.search(r"\sstyle=|\shx-on|\son(click|change|submit|load|input)=", source), path


def test_every_vendored_file_is_described():
    folder = ROOT / "static" / "vendor"
    described = (folder / "VENDOR.md").read_text()
    for path in folder.iterdir():
        assert path.name == "VENDOR.md" or path.name in described, path


def test_every_link_of_the_docs_leads_to_a_file():
    pages = [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")]
    for page in pages:
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
            assert "://" in target or (page.parent / target).exists(), f"{page.name}: {target}"
