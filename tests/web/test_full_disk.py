"""A database that has no room left: what is read stays readable, what is written says why it is not."""

import json
from collections.abc import Iterator

import pytest
from django.db import OperationalError, connection
from django.test import Client
from django.urls import reverse

from accounts.models import Project
from playground.models import Comparison
from tests import makers
from training.models import TrainingJob

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def full_disk(db: None) -> Iterator[None]:
    """SQLite itself says that the disk is full: it may take no further page and has none that is free."""
    if connection.vendor != "sqlite":
        pytest.skip("SQLite's own limit is used")
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE filler (x)")
        cursor.execute("PRAGMA page_count")
        cursor.execute(f"PRAGMA max_page_count={cursor.fetchone()[0]}")
        with pytest.raises(OperationalError, match="disk is full"):
            while True:
                cursor.execute("INSERT INTO filler VALUES (randomblob(3000))")
        yield
        cursor.execute("PRAGMA max_page_count=1073741823")
        cursor.execute("DROP TABLE filler")


def test_a_page_that_cannot_store_says_that_the_disk_is_full(
    owner_client: Client, project: Project, full_disk: None
) -> None:
    columns = [{"model": "tiny"}, {"model": "tiny", "system": "y"}]
    makers.make_base_model()
    setup = {"columns": columns, "system": "x" * 20_000}
    answer = owner_client.post(reverse("start-blind"), {"setup": json.dumps(setup)})
    assert answer.status_code == 507
    assert "The server's disk is full" in answer.text
    assert not Comparison.objects.exists()
    assert owner_client.get(reverse("jobs")).status_code == 200


def test_the_api_says_that_the_disk_is_full_and_goes_on_answering(
    api_key: str, project: Project, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setattr("training.models.BaseModel.is_present", True)
    makers.make_base_model()
    file = makers.make_file(project)
    request.getfixturevalue("full_disk")
    headers = {"Authorization": f"Bearer {api_key}"}
    metadata = {f"key {number}": "x" * 500 for number in range(16)}
    body = {"model": "tiny", "training_file": file.pk, "metadata": metadata}
    answer = Client().post("/v1/fine_tuning/jobs", json.dumps(body), content_type="application/json", headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (507, "disk_full")
    assert not TrainingJob.objects.exists()
    assert Client().get("/v1/fine_tuning/jobs", headers=headers).status_code == 200


def test_a_database_that_takes_nothing_can_still_be_read_by_the_api(api_key: str, project: Project) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("SQLite's own switch is used")
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA query_only=ON")
        try:
            answer = Client().get("/v1/files", headers={"Authorization": f"Bearer {api_key}"})
        finally:
            cursor.execute("PRAGMA query_only=OFF")
    assert answer.status_code == 200
