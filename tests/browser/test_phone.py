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
