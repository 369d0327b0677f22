"""Tab of a dataset: what repeats in it, what of it stands in other files or among the prompts kept for judging, and
one press that makes a version without those rows.
"""

import csv
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlencode

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import path, reverse
from django.views.decorators.http import require_GET, require_POST

from accounts.errors import ApiError
from accounts.telling_apart import tell_apart
from dashboard import leaks_told
from dashboard import repeats_shown as shown
from dashboard.forms_datasets import RemoveRepeatsForm
from dashboard.views.one_dataset import one_dataset
from playground import held_out
from playground.held_out import Kept
from training import file_tasks
from training.files import is_validation
from training.models import DatasetFile, FileTask
from training.repeats import asked, found, removing, work
from training.repeats.found import KINDS, Kind

UNASKED_BYTES: Final = 64 << 20  # larger files are searched when somebody asks
COMPARED_UNASKED: Final = 3  # of the files that are likely to share rows with it; the others can be chosen
SEARCHES: Final = ("repeats", "leaks", "prompts")
SHOWN_PLACES: Final = 12  # in which prompts stand that rows ask; the CSV names all
SHOWN_OWN: Final = 4
MOST_OFFERED: Final = 100
Status = DatasetFile.Status


def context(request: HttpRequest, file: DatasetFile) -> dict[str, Any]:
    """?of= chooses what is shown: "" what repeats in the file, "prompts", or the id of another file; ?kind=, ?alike=
    (per cent) and ?at= which of it, ?row= what stands beside the first of a group, ?place= where prompts stand."""
    if not work.searchable(file):
        return {"can_search": False}
    unasked = file.bytes <= UNASKED_BYTES
    tasks = {task.key or task.kind: task for task in file.tasks.filter(kind__in=SEARCHES).select_related("other")}
    places = held_out.kept(request.project, file)
    if unasked:
        tasks |= _begin(request, file, places)
    if not held_out.looked_for(places):
        tasks.pop("prompts", None)
    chosen = _chosen(request, tasks)
    removal = file.tasks.filter(kind="remove").first()
    listed = [task for task in tasks.values() if task.kind == "leaks" and task.other]
    return {
        "can_search": True,
        "unasked": unasked,
        "own": tasks.get("repeats"),
        "leaks": sorted(listed, key=lambda task: task.other.filename if task.other else ""),
        "prompts": tasks.get("prompts"),
        "prompts_stale": _is_stale(tasks.get("prompts"), places),
        "kept": _kept_words(places),
        "own_places": [each for each in places if each.own][:SHOWN_OWN],
        "own_more": max(0, len([each for each in places if each.own]) - SHOWN_OWN),
        "validates": is_validation(file),
        **_offered(file, tasks),
        "busy": any(task.is_busy for task in tasks.values()) or bool(removal and removal.is_busy),
        "removal": removal,
        "removed": DatasetFile.objects.filter(pk=removal.figures.get("file", "")).first() if removal else None,
        "levels": shown.LEVELS,
        **(_found(request, file, chosen, places) if chosen else {}),
    }


def _begin(request: HttpRequest, file: DatasetFile, places: list[Kept]) -> dict[str, FileTask]:
    """What is looked for without being asked: small files at once, larger ones by a worker."""
    begun = {"repeats": work.search(file, request.user)}
    for other in shown.related(file)[:COMPARED_UNASKED]:
        if other.bytes <= UNASKED_BYTES:
            begun[other.pk] = work.compare(file, other, request.user)
    if held_out.looked_for(places):
        begun["prompts"] = _begun_prompts(file, places) or leaks_told.compare_prompts(file, places, request.user)
    return begun


def _begun_prompts(file: DatasetFile, places: list[Kept]) -> FileTask | None:
    """What is known of a file that is not read in an instant: the page tells that prompts came since."""
    if file.bytes <= file_tasks.DONE_AT_ONCE_BYTES:
        return None
    return file.tasks.filter(kind="prompts", status=FileTask.Status.DONE, asked__finder=work.FINDER).first()


def _is_stale(task: FileTask | None, places: list[Kept]) -> bool:
    return bool(task and task.figures and task.asked.get("prompts") != held_out.mark(places))


def _kept_words(places: list[Kept]) -> str:
    """'523 prompts: 3 prompt sets (2 campaigns), 4 jobs ...'; empty where nothing is looked for."""
    looked = held_out.looked_for(places)
    sets = [each for each in looked if each.kind == "set"]
    jobs = [each for each in looked if each.kind == "film"]
    voted = sum(each.prompts for each in looked if each.kind == "votes")
    asked = many(len({campaign.pk for each in sets for campaign in each.campaigns}), "campaign")
    told = [
        f"{many(sum(each.prompts for each in sets), 'prompt')} of {many(len(sets), 'prompt set')}, asked in {asked}"
        if sets
        else "",
        f"{many(sum(each.prompts for each in jobs), 'prompt')} pinned to {many(len(jobs), 'job')}" if jobs else "",
        f"{many(voted, 'message')} voted on in the playground" if voted else "",
    ]
    return "; ".join(words for words in told if words)


def many(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def _chosen(request: HttpRequest, tasks: dict[str, FileTask]) -> FileTask | None:
    of = request.GET.get("of", "")
    return tasks.get(of or "repeats")


def _offered(file: DatasetFile, tasks: dict[str, FileTask]) -> dict[str, list[DatasetFile]]:
    """Other datasets that it could be compared with, in their newest versions; and the older versions of all."""
    others = DatasetFile.objects.of(file.project).usable().exclude(pk=file.pk)
    found = {
        "offered": others.exclude(family=file.family).newest(Status.PROCESSED)[:MOST_OFFERED],
        "offered_older": others.older(Status.PROCESSED)[:MOST_OFFERED],
    }
    return {
        name: tell_apart([each for each in files if each.pk not in tasks and work.searchable(each)], "filename")
        for name, files in found.items()
    }


def _found(request: HttpRequest, file: DatasetFile, task: FileTask, places: list[Kept]) -> dict[str, Any]:
    """A page of what a search found, and what a removal would do."""
    of = task.key or ("" if task.kind == "repeats" else task.kind)
    told: dict[str, Any] = {"chosen": task, "of": of}
    if not task.figures:
        return told
    alike = _level(request)
    place = next((each for each in places if of == "prompts" and each.key == request.GET.get("place")), None)
    counts = shown.counts(task, alike / 100, place.key if place else "")
    kinds = [(kind, words, counts[kind]["groups"]) for kind, words in shown.KIND_WORDS.items()]
    kind = _kind(request, counts)
    number = {name: _number(request, name) for name in ("at", "row")}
    address = {"tab": "repeats", "of": of, "alike": alike} | ({"place": place.key} if place else {})
    held = shown.held(task, places) if of == "prompts" else []
    removable: list[Kind] = [each for each in KINDS if counts[each]["rows"] and (each != "prompt" or task.other)]
    return told | {
        "kinds": kinds,
        "kind": kind,
        "alike": alike,
        "counts": counts,
        "page": shown.page(task, kind, number["at"], alike / 100, number["row"], places, place.key if place else "")
        if kind
        else None,
        "place": place,
        "held": [each for each in held if each.rows][:SHOWN_PLACES],
        "held_more": max(0, sum(1 for each in held if each.rows) - SHOWN_PLACES),
        "held_clean": sum(1 for each in held if not each.rows),
        "address": urlencode(address),
        "removable": [
            (each, shown.KIND_WORDS[each], counts[each].get("goes", counts[each]["rows"]), each != "prompt")
            for each in removable
        ],
        "other_side": task.other,
        "side": "other" if task.other and is_validation(file) else "rows",
        **_preview(request, task),
    }


def _preview(request: HttpRequest, task: FileTask) -> dict[str, Any]:
    if "remove" not in request.GET:
        return {}
    form = RemoveRepeatsForm(request.GET)
    if not form.is_valid():
        return {"remove_errors": [text for texts in form.errors.values() for text in texts]}
    asked = form.removal()
    return {"preview": removing.preview(task, asked), "asked": asked, "side": asked.side}


def _level(request: HttpRequest) -> int:
    asked = request.GET.get("alike", "")
    return int(asked) if asked.isdecimal() and int(asked) in shown.LEVELS else shown.LEVELS[0]


def _kind(request: HttpRequest, counts: dict[Kind, dict[str, int]]) -> Kind | None:
    """The one that was asked for, else the first of which there is any."""
    there = [kind for kind in KINDS if counts[kind]["groups"]]
    return next((kind for kind in there if kind == request.GET.get("kind")), next(iter(there), None))


def _number(request: HttpRequest, name: str) -> int:
    asked = request.GET.get(name, "")
    return int(asked) if asked.isdecimal() and len(asked) < 12 else 0


# ---- requests ----


@require_GET
def repeats(request: HttpRequest, file_id: str) -> HttpResponse:
    """The tab alone, while it waits for a worker."""
    file = one_dataset(request, file_id)
    return render(request, "dashboard/dataset_repeats.html", {"file": file, **context(request, file)})


@require_POST
def look(request: HttpRequest, file_id: str) -> HttpResponse:
    """`of`: as in the address; again where it was looked for before."""
    file, of = one_dataset(request, file_id), request.POST.get("of", "")
    try:
        if of == "prompts":
            leaks_told.compare_prompts(file, held_out.kept(request.project, file), request.user, again=True)
        elif of:
            other = get_object_or_404(DatasetFile.objects.of(request.project).datasets(), pk=of)
            work.compare(file, other, request.user, again=True)
        else:
            work.search(file, request.user, again=True)
    except ApiError as error:
        messages.error(request, error.message)
    return _to_tab(file, of=of)


@require_POST
def remove(request: HttpRequest, file_id: str) -> HttpResponse:
    file = one_dataset(request, file_id)
    task = get_object_or_404(file.tasks.filter(kind__in=SEARCHES), pk=request.POST.get("task", ""))
    form = RemoveRepeatsForm(request.POST)
    of = task.key or ("" if task.kind == "repeats" else task.kind)
    if not form.is_valid():
        messages.error(request, "; ".join(text for texts in form.errors.values() for text in texts))
        return _to_tab(file, of=of)
    try:
        done = removing.remove(task, form.removal(), request.user)
    except ApiError as error:
        messages.error(request, error.message)
        return _to_tab(file, of=of)
    if done.status == FileTask.Status.FAILED:
        messages.error(request, done.message)
    elif not done.is_busy:
        messages.success(
            request, f"{done.result['removed']:,} rows are removed in this new version; the old one stays."
        )
        return redirect("dataset", done.result["file"])
    return _to_tab(done.file, of=of if done.file_id == file.pk else "")


@require_GET
def download(request: HttpRequest, file_id: str, task_id: str) -> StreamingHttpResponse:
    """Everything that a search found, as CSV: a line for each row that is like another."""
    task = get_object_or_404(one_dataset(request, file_id).tasks.filter(kind__in=SEARCHES), pk=task_id)
    name = f"{task.file.filename}-repeats.csv"
    places = held_out.kept(request.project, task.file) if task.kind == "prompts" else []
    response = StreamingHttpResponse(_csv(task, places), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{_header_safe(name)}"'
    return response


def _csv(task: FileTask, places: list[Kept]) -> Iterator[str]:
    writer = csv.writer(_Echo())
    prompts, named = asked.told(task.folder) if task.kind == "prompts" else {}, {each.key: each for each in places}
    where = f"line of {task.other.filename}" if task.other else "id of the prompt" if task.kind == "prompts" else "line"
    yield writer.writerow(["kind", "line", f"like {where}", "similarity", *(["stands as"] if named else [])])
    for kind in KINDS:
        for each in found.all_entries(task.folder, kind):
            for line, other, alike in each:
                stands = prompts.get(str(other), {}).get("stands", [])
                told = [("; ".join(shown.stand(one, named).words for one in stands))] if named else []
                yield writer.writerow([kind, line, other, "" if alike is None else f"{alike:.4f}", *told])


class _Echo:
    """A file for csv.writer that hands back what is written."""

    def write(self, text: str) -> str:
        return text


def _header_safe(name: str) -> str:
    return "".join(
        letter if letter.isascii() and letter.isprintable() and letter not in '"\\' else "_" for letter in name
    )


def _to_tab(file: DatasetFile, **more: str) -> HttpResponseRedirect:
    query = urlencode({"tab": "repeats", **{key: value for key, value in more.items() if value}})
    return HttpResponseRedirect(f"{reverse('dataset', args=[file.pk])}?{query}#tabs")


urlpatterns = [
    path("", repeats, name="dataset-repeats"),
    path("look", look, name="look-for-repeats"),
    path("remove", remove, name="remove-repeats"),
    path("<str:task_id>.csv", download, name="download-repeats"),
]
