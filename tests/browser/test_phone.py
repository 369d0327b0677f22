"""A job on a phone: what matters first, the rest one tap away."""

import subprocess
import sys
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import ROOT, Site, site_environment

pytestmark = pytest.mark.browser
MAKE = """
from accounts.models import Project
from tests import makers
from training.models import BaseModel
project = Project.objects.first()
file = makers.make_file(project, "phone.jsonl")
base = BaseModel.objects.get(name="tiny-llama")
print(makers.make_job(project, steps=40, status="succeeded", base_model=base, training_file=file).pk)
"""
AWAY = """
from training.models import DatasetFile, TrainingJob
TrainingJob.objects.filter(training_file_name="phone.jsonl").delete()
DatasetFile.objects.filter(filename="phone.jsonl").delete()
"""
MAKE_DATASETS = """
import json
from accounts.models import Project
from tests.factories import chat_row
from training import files
long = "a-very-long-word-without-any-space-" * 30
said = [("Order 4? " + long, "It is done: ada@firm.org"), *((f"Order {n}?", f"Order {n} is done.") for n in range(11))]
rows = [chat_row(*each, "Be kind.") for each in [*said, *said[:2]]]
cells = "".join(f"{n},Where is it? {long},Here.\\n" for n in range(12))
contents = {
    "phone-good.jsonl": "".join(json.dumps(row) + "\\n" for row in rows),
    "phone-broken.jsonl": "".join(json.dumps(row).replace("assistant", "bot") + "\\n" for row in rows),
    "phone-table.csv": "number,what the customer asks,answer\\n" + cells,
}
project = Project.objects.first()
for name, content in contents.items():
    print(files.create_file(project, None, name, "fine-tune", content.encode()).pk)
"""
DATASETS_AWAY = """
from training import files
from training.models import DatasetFile
for file in DatasetFile.objects.filter(filename__startswith="phone-"):
    files.delete(file)
"""
TABS = ("rows", "rows&view=tokens", "problems", "tokens", "repeats", "safety", "split&preview=1", "versions", "used")
TALLEST = 2600  # pixels; it was 4600 with everything open


@pytest.fixture
def job_id(site: Site) -> Iterator[str]:
    """Finished, with four checkpoints; gone afterwards."""
    yield in_the_site(site, MAKE).strip()
    in_the_site(site, AWAY)


def in_the_site(site: Site, code: str) -> str:
    command = [sys.executable, "-c", f"import django; django.setup()\n{code}"]
    env = site_environment(site.home)
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True).stdout


def test_on_a_phone_a_job_shows_what_matters_first_and_folds_the_rest(site: Site, page: Page, job_id: str) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    site.sign_in(page)
    page.goto(f"{site.url}/jobs/{job_id}/")
    rows, film, tabs = page.locator("#checkpoints tbody tr"), page.locator("#film"), page.locator("#tabs")
    for shown in ("#headline", ".job-head__advice", "[data-chart=loss]", "#checkpoints tr.is-best"):
        expect(page.locator(shown)).to_be_visible()
    expect(rows).to_have_count(4)
    expect(rows.filter(visible=True)).to_have_count(1)
    expect(film).to_be_hidden()
    expect(tabs).to_be_hidden()
    assert page.evaluate("document.documentElement.scrollHeight") < TALLEST

    for words in ("All checkpoints", "Watch it learn", "More events"):
        page.locator(".fold__switch summary").filter(has_text=words).press("Enter")
    expect(rows.filter(visible=True)).to_have_count(4)
    expect(film).to_be_visible()
    expect(tabs).to_be_visible()

    page.goto(f"{site.url}/jobs/{job_id}/?tab=configuration")
    expect(tabs).to_be_visible()
    page.goto(f"{site.url}/jobs/{job_id}/#film")
    expect(film).to_be_visible()


def test_where_there_is_room_nothing_of_a_job_is_folded(site: Site, page: Page, job_id: str) -> None:
    page.set_viewport_size({"width": 1024, "height": 768})
    site.sign_in(page)
    page.goto(f"{site.url}/jobs/{job_id}/")
    expect(page.locator("#checkpoints tbody tr").filter(visible=True)).to_have_count(4)
    expect(page.locator("#tabs")).to_be_visible()
    expect(page.locator(".fold__switch").filter(visible=True)).to_have_count(0)


@pytest.fixture
def file_ids(site: Site) -> Iterator[list[str]]:
    """A good file with a word wider than any screen, a broken one and a table; gone afterwards."""
    yield in_the_site(site, MAKE_DATASETS).split()
    in_the_site(site, DATASETS_AWAY)


def test_on_a_phone_no_tab_of_a_dataset_scrolls_sideways_and_the_chosen_one_is_seen(
    site: Site, page: Page, file_ids: list[str]
) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    site.sign_in(page)
    good, broken, table = file_ids
    addresses = ["", "combine", "hub", f"{good}/rows/1", f"{table}/", f"{table}/map", f"{broken}/?tab=problems"]
    for address in addresses + [f"{good}/?tab={tab}" for tab in TABS]:
        page.goto(f"{site.url}/datasets/{address}")
        too_wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert too_wide <= 0, f"{address} is {too_wide} px too wide"
    page.goto(f"{site.url}/datasets/{good}/?tab=used#tabs")
    expect(page.get_by_role("link", name="Used by")).to_be_in_viewport(ratio=0.9)
    expect(page.locator("#estimate-line")).to_be_visible()
    expect(page.locator("#estimate-body")).to_be_hidden()
    page.locator("#estimate summary").press("Enter")
    expect(page.locator("#estimate-body")).to_be_visible()
    page.goto(f"{site.url}/datasets/{good}/")
    expect(page.locator("#estimate")).to_be_hidden()
    page.locator(".fold__switch summary").press("Enter")
    expect(page.locator("#estimate")).to_be_visible()
