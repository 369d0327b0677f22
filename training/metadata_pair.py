"""The metadata of jobs as rows, for an index to find jobs by: JSON in a column would be read job by job."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from django.db import models
from django.db.models import Exists, OuterRef

from accounts.models import Project

if TYPE_CHECKING:
    from training.models import TrainingJob


def digest(key: str, value: str) -> str:
    """What stands for a pair: of one length, whatever is in it."""
    return hashlib.sha256(json.dumps([key, value]).encode()).hexdigest()


class MetadataPairQuerySet(models.QuerySet["MetadataPair"]):
    def listed(self, project: Project, wanted: Mapping[str, str]) -> "MetadataPairQuerySet":
        """One row for each job of the project that has all these pairs (at least one) and is not archived."""
        first, *others = [digest(*pair) for pair in wanted.items()]
        rows = self.filter(project=project, digest=first, job__archived_at=None)
        for other in others:
            rows = rows.filter(Exists(MetadataPair.objects.filter(job=OuterRef("job"), digest=other)))
        return rows


class MetadataPair(models.Model):
    """A pair of a job's metadata. It repeats the job's project and time, so that one index finds and sorts."""

    job = models.ForeignKey(
        "training.TrainingJob", on_delete=models.CASCADE, related_name="metadata_pairs", db_index=False
    )
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="+", db_index=False)
    digest = models.CharField(max_length=64)
    created_at = models.DateTimeField()

    objects = MetadataPairQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["job", "digest"], name="one_row_a_metadata_pair")]
        indexes = [models.Index(fields=["project", "digest", "-created_at", "-id"], name="metadata_list")]


def keep(job: "TrainingJob") -> None:
    """To be called wherever a job's metadata is written."""
    job.metadata_pairs.all().delete()
    MetadataPair.objects.bulk_create(pairs_of([job]))


def pairs_of(jobs: "Iterable[TrainingJob]", row: type[MetadataPair] = MetadataPair) -> Iterator[MetadataPair]:
    """Not yet written. `row`: the table as a migration knows it."""
    for job in jobs:
        for key, value in (job.metadata or {}).items():
            given = {"job_id": job.pk, "project_id": job.project_id, "created_at": job.created_at}
            yield row(digest=digest(key, value), **given)
