"""Screen: what the project used and what it costs; the terms of its models; the same as CSV."""

import csv
import io
from datetime import UTC
from typing import Any, Final

from django import forms
from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import URLPattern, path
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods

from accounts.first_start import looks_after_server
from training.models import BaseModel, ModelTerms
from training.spreadsheets import plain
from training.usage import report, terms
from training.usage.models import FIGURES, UsageQuerySet

COLUMNS: Final = ("hour", "kind", "model", "base", "key", "person", "job", *FIGURES, "cost", "currency")
PRICES: Final = ("training_price", "input_price", "output_price")
LIMITS: Final = ("requests_per_minute", "tokens_per_minute")


@require_GET
@never_cache
def usage(request: HttpRequest) -> HttpResponse:
    """?days=30&show=tokens. Everybody sees the sums of the project; keys and people are the owners', else one's own."""
    days, measure, owner = _days(request), _measure(request), request.project.is_owned_by(request.user)
    found = report.rows(request.project, days)
    whole = report.Report(request.project, found)
    own = whole if owner else report.Report(request.project, found.filter(user=request.user.pk))
    shown, legend, top = report.chart(whole, days, measure)
    models = BaseModel.objects.filter(name__in=found.exclude(base="").values("base")).order_by("name")
    context: dict[str, Any] = {
        "days": days,
        "periods": report.PERIODS,
        "measure": measure,
        "measures": report.MEASURES.items(),
        "total": whole.total(),
        "chart": shown,
        "legend": legend,
        "top": top,
        "tables": [("Model", whole.by_model()), ("What for", whole.by_kind())],
        "own_tables": [("API key", own.by_key()), ("Person", own.by_person())],
        "is_owner": owner,
        "currency": settings.HONE_PRICE_CURRENCY,
        "terms": _all_terms(request, models),
        "any": found.exists(),
    }
    return render(request, "dashboard/usage.html", context)


def _days(request: HttpRequest) -> int:
    return {str(days): days for days in report.PERIODS}.get(request.GET.get("days", ""), 30)


def _measure(request: HttpRequest) -> str:
    given = request.GET.get("show", "")
    return given if given in report.MEASURES else "tokens"


def _all_terms(request: HttpRequest, used: Any) -> list[dict[str, Any]]:
    """Of each base model on disk, and of those that were used: what it costs and how much may be asked."""
    own = {each.base_model_id: each for each in ModelTerms.objects.filter(project=request.project)}
    prices, server = terms.prices_of(request.project), terms.servers_prices()
    models = (BaseModel.objects.ready() | BaseModel.objects.filter(pk__in=used.values("pk"))).distinct()
    return [
        {
            "model": model,
            "prices": prices.get(model.name, server),
            **_limits(own.get(model.pk)),
        }
        for model in models.order_by("name")
    ]


def _limits(own: ModelTerms | None) -> dict[str, int]:
    requests, tokens = terms.limits(own and own.requests_per_minute, own and own.tokens_per_minute)
    return {"requests": requests, "tokens": tokens}


# ---- the terms of one model ----


class TermsForm(forms.Form):
    """Prices and limits of a base model and all that was fine-tuned from it. Empty: as the server's settings say."""

    training_price = forms.FloatField(min_value=0, max_value=1e6, required=False, label="Training, 1M tokens")
    input_price = forms.FloatField(min_value=0, max_value=1e6, required=False, label="Input, 1M tokens")
    output_price = forms.FloatField(min_value=0, max_value=1e6, required=False, label="Output, 1M tokens")
    requests_per_minute = forms.IntegerField(min_value=0, max_value=10**9, required=False, label="Requests a minute")
    tokens_per_minute = forms.IntegerField(min_value=0, max_value=2 * 10**9, required=False, label="Tokens a minute")

    def __init__(self, *args: Any, may_lift: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.may_lift = may_lift
        self.servers = dict(zip(LIMITS, terms.limits(), strict=True))
        for name, field in self.fields.items():
            field.widget.attrs |= {"class": "input input--number", "step": "any" if name in PRICES else "1"}
        for name, most in self.servers.items():
            self.fields[name].help_text = f"The server's: {f'{most:,}' if most else 'none'}. 0 is no limit."

    def clean(self) -> dict[str, Any]:
        """A project does not lift a limit that the server gives it; one that was lifted for it stays as it is."""
        given = super().clean() or {}
        for name in () if self.may_lift else set(LIMITS) & set(self.changed_data):
            most, asked = self.servers[name], given.get(name)
            if asked is not None and most and (asked == 0 or asked > most):
                self.add_error(name, f"At most {most:,}: only whoever looks after the server can give more.")
        return given


@require_http_methods(["GET", "POST"])
def change_terms(request: HttpRequest, name: str) -> HttpResponse:
    model = get_object_or_404(BaseModel, name=name)
    own = ModelTerms.objects.filter(project=request.project, base_model=model).first()
    initial = {field: getattr(own, field) for field in TermsForm.base_fields} if own else {}
    form = TermsForm(request.POST or None, initial=initial, may_lift=looks_after_server(request.user))
    if request.method == "POST" and form.is_valid():
        ModelTerms.objects.update_or_create(project=request.project, base_model=model, defaults=form.cleaned_data)
        messages.success(request, f"Prices and limits of {model} are saved. A limit holds within seconds.")
        return redirect("usage")
    context = {"form": form, "model": model, "currency": settings.HONE_PRICE_CURRENCY}
    return render(request, "dashboard/usage_terms.html", context, status=422 if form.errors else 200)


# ---- as CSV ----


@require_GET
@never_cache
def download(request: HttpRequest) -> HttpResponse:
    """Every row of the period, an hour each; who is no owner gets their own."""
    days, text = _days(request), io.StringIO()
    found: UsageQuerySet = report.rows(request.project, days)
    if not request.project.is_owned_by(request.user):
        found = found.filter(user=request.user.pk)
    prices = report.Report(request.project, found)
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for row in found.select_related("api_key", "user").order_by("hour", "pk").iterator():
        figures = {name: getattr(row, name) for name in FIGURES}
        cost = prices.prices_for(row.base).cost(figures)
        key = f"{row.api_key.name} ({row.api_key.hint})" if row.api_key else ""
        about = [row.kind, row.model, row.base, key, row.user.email if row.user else "", row.job_id or ""]
        writer.writerow(
            [
                row.hour.astimezone(UTC).isoformat(timespec="minutes"),
                *map(plain, about),
                *figures.values(),
                *(["", ""] if cost is None else [f"{cost:.6f}", settings.HONE_PRICE_CURRENCY]),
            ]
        )
    response = HttpResponse(text.getvalue(), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="usage-{request.project.pk}-{days}-days.csv"'
    return response


urlpatterns: list[URLPattern] = [
    path("", usage, name="usage"),
    path("usage.csv", download, name="usage-csv"),
    path("terms/<str:name>", change_terms, name="change-terms"),
]
