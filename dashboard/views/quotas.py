"""Screen: what each project may use of the server, for whoever looks after it."""

from django import forms
from django.conf import settings
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import URLPattern, path
from django.views.decorators.http import require_GET, require_POST

from accounts import audit
from accounts.first_start import looks_after_server
from accounts.models import Project
from dashboard import quotas_shown
from training.actions import wake_trainer
from training.job_log import refresh_queue
from training.quotas.models import Quota


class QuotaForm(forms.ModelForm):
    """Empty: the server's default, which stands in the field; 0: no limit."""

    class Meta:
        model = Quota
        fields = ["jobs", "waiting", "disk_gb"]
        labels = {"jobs": "Jobs at once", "waiting": "Jobs that wait", "disk_gb": "Disk (GB)"}

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        defaults = (settings.HONE_PROJECT_JOBS, settings.HONE_PROJECT_WAITING, settings.HONE_PROJECT_DISK_GB)
        for (name, field), default in zip(self.fields.items(), defaults, strict=True):
            shown = f"{default:g}" if default else "no limit"
            field.widget.attrs |= {"class": "input input--small", "min": 0, "placeholder": shown}
            field.label = self.Meta.labels[name]

    def clean_disk_gb(self) -> float | None:
        given = self.cleaned_data["disk_gb"]
        if given is not None and not 0 <= given <= 1e9:
            raise forms.ValidationError("A number of gigabytes; 0 for no limit.")
        return given  # type: ignore[no-any-return]


def _caretakers_only(request: HttpRequest) -> None:
    if not looks_after_server(request.user):
        raise PermissionDenied


@require_GET
def quotas(request: HttpRequest) -> HttpResponse:
    _caretakers_only(request)
    return _page(request)


def _page(request: HttpRequest, wrong: QuotaForm | None = None) -> HttpResponse:
    own = {quota.project_id: quota for quota in Quota.objects.all()}
    rows = []
    for row in quotas_shown.of_each(Project.objects.order_by("created_at")):
        project = row["project"]
        form = QuotaForm(instance=own.get(project.pk), auto_id=f"{project.pk}_%s")
        mine = wrong is not None and wrong.instance.project_id == project.pk
        rows.append(row | {"form": wrong if mine else form})
    return render(request, "dashboard/quotas.html", {"rows": rows}, status=422 if wrong else 200)


@require_POST
def change(request: HttpRequest) -> HttpResponse:
    _caretakers_only(request)
    project = get_object_or_404(Project, pk=request.POST.get("project", ""))
    known = Quota.objects.filter(project=project).first() or Quota(project=project)
    form = QuotaForm(request.POST, instance=known, auto_id=f"{project.pk}_%s")
    if not form.is_valid():
        return _page(request, form)
    with transaction.atomic():
        form.instance.changed_by = request.user
        form.save()
        refresh_queue()  # what was held back may be free now
        wake_trainer()
    given = ", ".join(f"{field.label.lower()}: {form.cleaned_data[name]}" for name, field in form.fields.items())
    words = f"change what {project.name} may use ({given.replace('None', 'as everywhere')})"
    audit.tell(request, words, project=project)
    messages.success(request, f"Saved for {project.name}.")
    return redirect("quotas")


urlpatterns: list[URLPattern] = [
    path("quotas/", quotas, name="quotas"),
    path("quotas/change", change, name="change-quota"),
]
