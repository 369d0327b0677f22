"""The page Usage: sums by model, key and person for a period, prices, limits, and the same as CSV."""

import csv
import io
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import ApiKey, Project, User
from playground.limits import reserving
from tests import makers
from training.models import BaseModel, ModelTerms, Usage
from training.usage import report, terms


@pytest.fixture
def base(db: None) -> BaseModel:
    return makers.make_base_model()


def row(project: Project, user: User | None = None, days_ago: int = 0, **columns: Any) -> Usage:
    hour = timezone.now().replace(minute=0, second=0, microsecond=0) - timedelta(days=days_ago)
    given = {"kind": "chat", "model": "tiny", "base": "tiny", "requests": 1, "hour": hour}
    return Usage.objects.create(project=project, user=user, **given | columns)


@pytest.fixture
def used(project: Project, owner: User, teammate: User, base: BaseModel) -> None:
    key = ApiKey.make(project=project, user=owner, name="nightly")[0]
    row(project, owner, api_key=key, prompt_tokens=2_000_000, completion_tokens=500_000)
    row(project, teammate, days_ago=3, model="ft:tiny:hone:bot:abcdefgh", kind="playground", prompt_tokens=1234)
    row(project, owner, days_ago=40, model="ft:tiny:hone:old:abcdefgh")
    row(project, owner, kind="training", requests=0, trained_tokens=4_000, file_tokens=3_000_000, device_seconds=7200)


def read(client: Client, query: str = "") -> str:
    answer = client.get(f"/usage/{query}")
    assert answer.status_code == 200
    return " ".join(answer.content.decode().split())


def test_an_owner_sees_sums_by_model_key_and_person(owner_client: Client, used: None) -> None:
    page = read(owner_client)
    for said in ("nightly", "owner@example.com", "teammate@example.com", "ft:tiny:hone:bot:abcdefgh", "2 M", "2 h 00"):
        assert said in page, said
    assert ":old:" not in page and ":old:" in read(owner_client, "?days=90")


def test_two_people_of_the_same_name_are_two_lines(project: Project, owner: User, teammate: User, used: None) -> None:
    User.objects.filter(pk__in=[owner.pk, teammate.pk]).update(name="Kim")
    lines = report.Report(project, report.rows(project, 30)).by_person()
    assert [(line.name, line.note) for line in lines] == [("Kim", owner.email), ("Kim", teammate.email)]


def test_a_member_sees_the_sums_and_of_keys_only_their_own(teammate: User, used: None) -> None:
    client = Client()
    client.force_login(teammate)
    page = read(client)
    assert "ft:tiny:hone:bot:abcdefgh" in page and "2 M" in page
    assert "nightly" not in page and "owner@example.com" not in page
    told = client.get("/usage/usage.csv").content.decode()
    assert "teammate@example.com" in told and "owner@example.com" not in told
    assert client.get("/usage/terms/tiny").status_code == 403


def test_another_project_sees_nothing_of_it(stranger_client: Client, used: None) -> None:
    assert "Nothing was used in these 30 days" in read(stranger_client)


def test_each_model_has_a_bar_on_its_day(owner_client: Client, used: None) -> None:
    page = read(owner_client, "?days=7")
    assert page.count("<rect class=") == 2 and 'class="run-0"' in page and 'class="run-1"' in page
    for odd in ("0000309999999", "000030999", "²"):
        assert owner_client.get(f"/usage/?days={odd}").context["days"] == 30
    assert read(owner_client, "?days=x&show=y").count('aria-current="true"') >= 2


def test_what_has_a_price_has_a_cost(owner_client: Client, project: Project, base: BaseModel, used: None) -> None:
    assert "at today's prices" not in read(owner_client)
    owner_client.post("/usage/terms/tiny", {"training_price": "3", "input_price": "0.5", "output_price": "1.5"})
    assert "$10.75" in read(owner_client, "?show=cost")  # 3 x 3 + 2.001234 x 0.5 + 0.5 x 1.5
    price = terms.training_price(project.pk, "tiny")
    assert price and price.cost(1e6, 0) == 3
    assert terms.training_price(project.pk, "another") is None


def test_the_csv_has_a_row_for_each_hour_key_and_model(owner_client: Client, used: None, base: BaseModel) -> None:
    owner_client.post("/usage/terms/tiny", {"input_price": "1"})
    rows = list(csv.DictReader(io.StringIO(owner_client.get("/usage/usage.csv?days=7").content.decode())))
    assert [row["kind"] for row in rows] == ["playground", "chat", "training"]
    assert rows[1]["key"].startswith("nightly (sk-hone-") and rows[1]["prompt_tokens"] == "2000000"
    assert (rows[1]["cost"], rows[1]["currency"]) == ("2.000000", "$") and rows[2]["cost"] == ""


def test_a_projects_own_limit_holds_at_once(
    owner_client: Client, project: Project, base: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reserving, "_terms", {})
    owner_client.post("/usage/terms/tiny", {"requests_per_minute": "7", "tokens_per_minute": "0"})
    assert reserving.rates_of(project, "tiny") == reserving.Rates(7, 0)
    assert reserving.rates_of(project, "another") == reserving.Rates(10_000, 10_000_000)


def test_a_project_does_not_lift_the_servers_limit(owner: User, stranger_client: Client, base: BaseModel) -> None:
    """The stranger owns a younger project; who owns the oldest one looks after the server."""
    for asked in ("10001", "0"):
        answer = stranger_client.post("/usage/terms/tiny", {"requests_per_minute": asked})
        assert answer.status_code == 422 and "At most 10,000:" in answer.content.decode()
    assert stranger_client.post("/usage/terms/tiny", {"requests_per_minute": "9"}).status_code == 302
    assert ModelTerms.objects.get().requests_per_minute == 9


def test_prices_are_saved_beside_a_limit_that_was_lifted(
    stranger: User, stranger_client: Client, base: BaseModel
) -> None:
    project = Project.objects.of(stranger).get()
    own = ModelTerms.objects.create(project=project, base_model=base, requests_per_minute=50_000)
    given = {"requests_per_minute": "50000", "input_price": "2"}
    assert stranger_client.post("/usage/terms/tiny", given).status_code == 302
    own.refresh_from_db()
    assert (own.input_price, own.requests_per_minute) == (2, 50_000)
    assert stranger_client.post("/usage/terms/tiny", given | {"requests_per_minute": "40000"}).status_code == 422
