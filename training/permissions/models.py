"""Which other projects may ask a checkpoint."""

from django.conf import settings
from django.db import models
from django.utils import timezone

from accounts.ids import new_id
from accounts.models import Project
from training.models import Checkpoint


def new_permission_id() -> str:
    return new_id("cp_")


class CheckpointPermission(models.Model):
    """Lets `shared_with` see this checkpoint by its name and ask it, by API or on the site. Of its job nothing else."""

    id = models.CharField(primary_key=True, max_length=40, default=new_permission_id, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="permissions_given")  # the checkpoint's
    checkpoint = models.ForeignKey(Checkpoint, on_delete=models.CASCADE, related_name="permissions")
    shared_with = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="permissions_had")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    is_new = False  # of what granting.share returns: it was not there before

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(fields=["checkpoint", "shared_with"], name="one_permission_per_project"),
        ]

    def __str__(self) -> str:
        return f"{self.checkpoint_id} for {self.shared_with_id}"
