"""/docs: every page is there, open to everybody, and no link leads nowhere."""

import re
from html import unescape

import pytest
from django.test import Client

from dashboard.docs import pages, reference, rendering

pytestmark = pytest.mark.django_db

LINKED = re.compile(r'href="(/docs/[^"#]*)?(?:#([^"]+))?"')


def ids(html: str) -> set[str]:
    return set(re.findall(r'id="([^"]+)"', html))


def test_every_file_of_docs_is_a_page_and_has_a_place_in_the_contents():
    named = {slug for slugs in pages.CONTENTS.values() for slug in slugs}
    assert {path.stem for path in pages.FOLDER.glob("*.md")} <= named


def test_every_page_is_open_to_everybody_and_its_links_lead_somewhere(client: Client) -> None:
    texts = {f"/docs/{page.slug}/": rendering.render(page).html for page in pages.pages()}
    for address, text in texts.items():
        assert client.get(address).status_code == 200, address
        assert "style=" not in text and "<script" not in text  # the browser would refuse both
        for path, anchor in LINKED.findall(text):
            there = path or address
            assert there in texts, f"{address}: {path}"
            assert not anchor or unescape(anchor) in ids(texts[there]), f"{address}: {path}#{anchor}"
        for image in re.findall(r'src="(/docs/img/[^"]+)"', text):
            assert client.get(image).status_code == 200, image


def test_the_way_to_the_docs_leads_to_the_first_page_without_signing_in(client):
    assert client.get("/docs/")["Location"] == f"/docs/{pages.pages()[0].slug}/"
    assert client.get("/docs/no-such-page/").status_code == 404
    assert client.get("/docs/img/..%2f..%2fmanage.py").status_code == 404


def test_a_page_shows_the_address_at_which_it_is_read(client: Client) -> None:
    page = client.get("/docs/quick-start/", headers={"host": "localhost:9000"}).text
    assert "http://localhost:9000/v1" in page and "127.0.0.1:8000" not in page


def test_the_reference_has_every_operation_with_its_fields(client):
    from dashboard.api import api

    served = api.get_openapi_schema(path_prefix="v1/")["paths"]
    shown = {(each["method"], each["path"]) for tag in reference.tags() for each in tag["operations"]}
    assert shown == {(m.upper(), path) for path, operations in served.items() for m in operations if m != "head"}
    page = client.get("/docs/reference/").content.decode()
    assert "hyperparameters.n_epochs" in page and "at most 50" in page  # a field of a field, with its limit


def test_the_search_knows_headings_and_what_stands_under_them(client):
    assert 'data-search="/docs/search.json"' in client.get("/docs/quick-start/").content.decode()
    found = client.get("/docs/search.json").json()["sections"]
    assert any(each["heading"].startswith("POST /v1/fine_tuning/jobs") for each in found)
    assert all(each["url"].startswith("/docs/") for each in found)


def test_code_in_several_languages_becomes_tabs_and_a_single_block_does_not():
    several = rendering.as_html("# T\n\n```python\na\n```\n\n```bash\nb\n```\n").html
    assert several.count('role="tab"') == 2 and several.count("hidden") == 1
    assert 'role="tab"' not in rendering.as_html("# T\n\n```python\na\n```\n").html


def test_a_list_right_under_a_sentence_is_a_list_and_code_stays_as_it_is():
    html = rendering.as_html("# T\n\nTwo:\n- one\n- two\n\n```text\nkept:\n- as it is\n```\n").html
    assert html.count("<li>") == 2 and "kept:\n- as it is" in html
