"""Uploads in parts: what becomes of those that nobody completes."""

import io
from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.errors import ApiError
from accounts.models import Project
from training.models import Upload
from training.parts import joining


def begun(project: Project) -> Upload:
    return joining.begin(project, None, "../big.jsonl", "fine-tune", 10, "text/jsonl")


def test_an_upload_of_which_an_hour_has_gone_by_is_expired_and_its_parts_are_removed(project: Project) -> None:
    late, fresh = begun(project), begun(project)
    for upload in (late, fresh):
        joining.add_part(upload, io.BytesIO(b"12345"), 5)
    Upload.objects.filter(pk=late.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    assert joining.remove_stale() == 1 and joining.remove_stale() == 0
    late.refresh_from_db()
    assert (late.filename, late.state, late.parts.count(), late.folder.exists()) == ("big.jsonl", "expired", 0, False)
    assert fresh.state == "pending" and [part.path.read_bytes() for part in fresh.parts.all()] == [b"12345"]
    with pytest.raises(ApiError, match="has expired"):
        joining.add_part(late, io.BytesIO(b"12345"), 5)


def test_parts_without_end_are_refused_before_they_fill_the_disk(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joining, "LARGEST_PART", 20)
    upload = begun(project)
    with pytest.raises(ApiError, match="at most"):
        joining.add_part(upload, io.BytesIO(bytes(21)), 21)
    for _ in range(2):
        joining.add_part(upload, io.BytesIO(bytes(20)), 20)
    with pytest.raises(ApiError, match="far more than the 10 bytes announced"):
        joining.add_part(upload, io.BytesIO(b"1"), 1)
    assert upload.parts.count() == len(list(upload.folder.iterdir())) == 2


def test_an_upload_that_is_being_put_together_is_not_put_together_twice(project: Project) -> None:
    upload = begun(project)
    part = joining.add_part(upload, io.BytesIO(b"1234567890"), 10)
    with joining.only_one(upload.folder / "lock"), pytest.raises(ApiError) as caught:
        joining.complete(upload, [part.id])
    assert caught.value.status == 409 and caught.value.headers == {"x-should-retry": "true"}
    assert joining.complete(upload, [part.id]).bytes == 10 and not upload.folder.exists()
