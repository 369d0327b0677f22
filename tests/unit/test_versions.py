"""Versions of a dataset: numbered, never changed, each a file of its own."""

import hashlib
import os
import shutil
import time
from pathlib import Path
from types import SimpleNamespace
from typing import BinaryIO

import pytest
from django.db import IntegrityError

from accounts.errors import ApiError
from accounts.models import Project, User
from tests import makers
from training import files, home, versions
from training.models import DatasetFile

pytestmark = pytest.mark.django_db
ROW = '{"messages": [{"role": "user", "content": "Order %d?"}, {"role": "assistant", "content": "Done."}]}\n'


def rows(count: int) -> bytes:
    return "".join(ROW % number for number in range(count)).encode()


@pytest.fixture
def file(project: Project) -> DatasetFile:
    return files.create_file(project, None, "orders.jsonl", "fine-tune", rows(12))


def shortened(file: DatasetFile, count: int, kind: str = "sampled", user: User | None = None) -> DatasetFile:
    def write(out: BinaryIO) -> None:
        out.write(rows(count))

    return versions.new_version(file, kind=kind, words=f"The first {count} rows.", user=user, write=write, rows=count)


def folders() -> set[str]:
    return {folder.name for folder in (home.home() / "files").iterdir()}


def test_a_new_version_is_a_checked_file_of_the_same_family_and_the_old_one_stays(
    file: DatasetFile, owner: User
) -> None:
    before = file.path.read_bytes()
    made = shortened(file, 11, user=owner)
    assert (made.family, made.version, made.parent, made.filename) == (file.pk, 2, file, "orders.jsonl")
    assert made.origin == {"kind": "sampled", "words": "The first 11 rows.", "rows": 11}
    assert (made.status, made.rows, made.bytes, made.created_by) == ("processed", 11, len(rows(11)), owner)
    assert made.sha256 == hashlib.sha256(rows(11)).hexdigest() and made.path.read_bytes() == rows(11)
    assert file.path.read_bytes() == before and DatasetFile.objects.get(pk=file.pk).version == 1


def test_versions_are_numbered_whatever_they_were_made_of(file: DatasetFile) -> None:
    second, third = shortened(file, 11), shortened(file, 10)
    fourth = shortened(second, 9)
    assert [each.version for each in (second, third, fourth)] == [2, 3, 4]
    assert list(DatasetFile.objects.of_family(file)) == [fourth, third, second, file]
    assert fourth.parent == second


def test_the_number_of_a_deleted_version_is_not_given_again(file: DatasetFile) -> None:
    second, third = shortened(file, 11), shortened(file, 10)
    files.delete(third)
    files.delete(second)
    assert shortened(file, 10).version == 4


def test_a_new_name_is_that_of_all_versions_and_a_table_keeps_its_ending(file: DatasetFile, project: Project) -> None:
    DatasetFile.objects.filter(pk=file.pk).update(filename="orders.csv")
    second, other = shortened(file, 11), makers.make_file(project, "orders.jsonl")
    DatasetFile.objects.filter(pk=second.pk).update(filename="orders.jsonl")
    third = shortened(DatasetFile.objects.get(pk=second.pk), 10)
    files.rename(third, "parcels.jsonl")
    named = {each.version: each.filename for each in DatasetFile.objects.of_family(file)}
    assert named == {1: "parcels.csv", 2: "parcels.jsonl", 3: "parcels.jsonl"}
    other.refresh_from_db()
    assert other.filename == "orders.jsonl"


def test_the_same_made_twice_is_one_version(file: DatasetFile) -> None:
    assert shortened(file, 11) == shortened(file, 11)
    assert DatasetFile.objects.of_family(file).count() == 2
    assert shortened(file, 11, kind="redacted").version == 3  # made in another way


def test_what_changes_nothing_or_leaves_nothing_makes_no_version(file: DatasetFile) -> None:
    before = folders()
    for count, code in ((12, "same_content"), (0, "no_rows")):
        with pytest.raises(ApiError) as refused:
            shortened(file, count)
        assert refused.value.code == code
    assert DatasetFile.objects.count() == 1 and folders() == before


def test_a_version_that_cannot_be_written_leaves_nothing_behind(file: DatasetFile) -> None:
    before = folders()

    def breaks(out: BinaryIO) -> None:
        out.write(b"{")
        raise ValueError("a row that cannot be read")

    with pytest.raises(ValueError, match="cannot be read"):
        versions.new_version(file, kind="repair", words="", user=None, write=breaks)
    assert DatasetFile.objects.count() == 1 and folders() == before


def test_a_full_disk_is_said_before_a_byte_is_written(file: DatasetFile, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = SimpleNamespace(free=versions.SPARE_BYTES)
    monkeypatch.setattr("training.disk.shutil.disk_usage", lambda path: usage)
    with pytest.raises(ApiError) as refused:
        shortened(file, 11)
    assert refused.value.code == "disk_full" and DatasetFile.objects.count() == 1


def test_deleting_one_version_leaves_the_others(file: DatasetFile) -> None:
    second = shortened(file, 11)
    third = shortened(second, 10)
    files.delete(second)
    third.refresh_from_db()
    assert third.parent is None and third.path.exists() and file.path.exists()
    files.delete(file)
    assert list(DatasetFile.objects.of_family(third)) == [third] and third.path.exists()


def test_no_two_files_are_the_same_version(project: Project, file: DatasetFile) -> None:
    with pytest.raises(IntegrityError):
        makers.make_file(project, family=file.family, version=1)


def test_a_version_that_is_still_arriving_hides_none(project: Project, file: DatasetFile) -> None:
    other = makers.make_file(project, "other.jsonl")
    second = shortened(file, 11)
    assert set(project.files.newest()) == {other, second}  # type: ignore[attr-defined]
    second.status = "uploading"
    second.save()
    assert set(project.files.newest()) == {other, file, second}  # type: ignore[attr-defined]


def test_the_newest_that_can_be_used_may_be_an_older_one(project: Project, file: DatasetFile) -> None:
    second = shortened(file, 11)
    DatasetFile.objects.filter(pk=second.pk).update(status="error")
    assert list(DatasetFile.objects.of(project).usable().newest("processed")) == [file]
    assert not DatasetFile.objects.of(project).usable().newest().exists()


def test_a_version_of_another_name_keeps_its_family(file: DatasetFile, tmp_path: Path) -> None:
    made = versions.new_version(
        file,
        kind="mapped",
        words="Columns mapped.",
        user=None,
        filename="orders.mapped.jsonl",
        write=lambda out: out.write(rows(10)) and None,
    )
    assert (made.filename, made.family, made.version) == ("orders.mapped.jsonl", file.pk, 2)


def test_what_a_killed_process_left_of_a_version_goes_after_a_day(file: DatasetFile) -> None:
    def left(name: str, *parts: str, days: float = 1.1) -> Path:
        folder = home.file_folder(f"file-{name}")
        folder.mkdir()
        for part in parts:
            (folder / part).write_bytes(b"{")
            os.utime(folder / part, (time.time() - days * 86_400,) * 2)
        return folder

    killed, young = left("killed", "content.part"), left("young", "content.part", days=0.5)
    whole = left("whole", "content", "content.part")  # of a database that was restored, perhaps
    (file.path.parent / "content.part").write_bytes(b"{")
    os.utime(file.path.parent / "content.part", (0, 0))
    assert files.remove_unborn() >= 1
    assert not killed.exists() and young.exists() and whole.exists() and file.path.exists()
    for folder in (young, whole):
        shutil.rmtree(folder)
