"""Answers as people would have had them."""

from django.conf import settings
from django.db import models
from django.utils import timezone

from accounts.models import Project


class EditedAnswerQuerySet(models.QuerySet["EditedAnswer"]):
    def of(self, project: Project) -> "EditedAnswerQuerySet":
        return self.filter(response__turn__comparison__project=project)


class EditedAnswer(models.Model):
    """An answer as one person changed it: preferred over the answer it was made of. One a person and answer."""

    response = models.ForeignKey("playground.Response", on_delete=models.CASCADE, related_name="edits")
    editor = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True)
    text = models.TextField()
    edited_at = models.DateTimeField(default=timezone.now)

    objects = EditedAnswerQuerySet.as_manager()

    class Meta:
        ordering = ["edited_at", "pk"]
        constraints = [models.UniqueConstraint(fields=["response", "editor"], name="one_edit_per_person_and_answer")]
