"""The row of a repair: what was chosen, what it would change, and the version that it made."""

from django.conf import settings
from django.db import models
from django.utils import timezone

from accounts.ids import new_id
from accounts.models import Project
from training.models import DatasetFile
from training.repairs import catalogue


def new_repair_id() -> str:
    return new_id("repair-")


class RepairQuerySet(models.QuerySet["Repair"]):
    def of(self, project: Project) -> "RepairQuerySet":
        return self.filter(file__project=project)

    def unfinished(self) -> "RepairQuerySet":
        return self.filter(state__in=[Repair.State.LOOKING, Repair.State.MAKING])


class Repair(models.Model):
    """First it is looked what would change (LOOKING, SHOWN), then, when a person says so, the version is made."""

    class State(models.TextChoices):
        LOOKING = "looking", "Looking what would change"
        SHOWN = "shown", "Shown"
        MAKING = "making", "Making the version"
        DONE = "done", "Done"
        FAILED = "failed", "Failed"

    id = models.CharField(primary_key=True, max_length=40, default=new_repair_id, editable=False)
    file = models.ForeignKey(DatasetFile, on_delete=models.CASCADE, related_name="repairs")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True)
    keys = models.JSONField(default=list)  # of repairs.catalogue
    options = models.JSONField(default=dict, blank=True)  # {"system", "how", "model", "max_length"}
    state = models.CharField(max_length=10, choices=State, default=State.LOOKING)
    share = models.FloatField(default=0.0)  # of the file, read so far
    figures = models.JSONField(default=dict, blank=True)  # repairs.applying.Figures
    problem = models.TextField(blank=True)  # why it failed
    made = models.ForeignKey(DatasetFile, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)

    objects = RepairQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]

    def __str__(self) -> str:
        return ", ".join(self.titles)

    @property
    def titles(self) -> list[str]:
        return [repair.title for repair in catalogue.ALL if repair.key in self.keys]

    @property
    def is_under_way(self) -> bool:
        return self.state in (self.State.LOOKING, self.State.MAKING)
