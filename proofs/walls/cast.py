"""A project with one of everything in it, and everybody who might ask for it: people of each role, keys, outsiders."""

from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.db.models import Model
from django.test import Client
from django.utils import timezone

from accounts import actions
from accounts.audit import AuditEntry
from accounts.models import ApiKey, Membership, OneTimeLink, Project, User
from dashboard.owned import belonging
from playground import comparisons
from playground.campaigns import running
from playground.campaigns.models import Campaign
from playground.comparisons import Answer
from playground.forms import Setup
from playground.matrix.models import Matrix, PromptSet
from playground.models import Comparison
from tests import makers
from tests.judging_cast import make_campaign
from tests.one_of_each import WORD, one_of_each
from training import exports
from training.aliases.models import Alias
from training.chains.models import Chain, Stage
from training.imported.models import ImportedJob
from training.models import BaseModel, Checkpoint, DatasetFile, Export, FileTask, TrainingJob
from training.trackers.models import Tracker

ROLES = ("reader", "evaluator", "member", "owner")
SCOPES = ("read", "train", "serve", "all")


@dataclass
class World:
    """`made`: a row of every table of the project; `clients`: who is signed in, `keys`: secrets, each by a name."""

    project: Project
    elsewhere: Project
    made: dict[type[Model], Model]
    blind_comparison: Comparison
    clients: dict[str, Client] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    judge_token: str = ""
    link_token: str = ""
    secrets: set[str] = field(default_factory=set)  # what nobody outside may read: names, texts, ids of rows
    smuggled: list[dict[str, Any]] = field(default_factory=list)
    blind: set[str] = field(default_factory=set)  # those who are asked only what would change something
    foreign_bodies: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    before: dict[str, list[Any]] = field(default_factory=dict)

    def row(self, model: type[Model]) -> Any:
        return self.made[model]

    def rows(self, project: Project | None = None, tables: Container[str] | None = None) -> dict[str, list[Any]]:
        """What a project has in these tables of the database, or in all, by its kind."""
        return {
            belonging.label(model): list(belonging.rows(model, project or self.project).values_list())
            for model in belonging.paths()
            if tables is None or model._meta.db_table in tables
        }

    def ids(self) -> Iterator[Any]:
        for model in belonging.paths():
            yield from belonging.rows(model, self.project).values_list("pk", flat=True)


def make_world() -> World:
    project, elsewhere = Project.objects.create(name=f"{WORD} works"), Project.objects.create(name="Elsewhere")
    people = {role: _person(project, role) for role in ROLES}
    User.objects.filter(pk=people["owner"].pk).update(is_superuser=True)  # looks after the server
    stranger = _person(elsewhere, "owner", "stranger")
    _fill(project, people["owner"])
    newest = Checkpoint.objects.of(project).latest("step")
    compared = {row.blind: row for row in Comparison.objects.of(project)}
    made = one_of_each(project, people["owner"], newest, newest.job, compared[False])
    campaign = made[Campaign]
    assert isinstance(campaign, Campaign)
    world = World(project, elsewhere, made, compared[True])
    world.judge_token = running.invite(campaign=campaign, user=people["owner"])[1]
    world.link_token = actions.invite(project=elsewhere, by=stranger)
    made[OneTimeLink] = OneTimeLink.objects.invitations(project)[0]
    world.clients = {role: _signed_in(people[role]) for role in reversed(ROLES)}
    world.clients |= {"stranger": _signed_in(stranger), "visitor": Client()}
    world.keys = {scope: _key(project, people["owner"], scope) for scope in reversed(SCOPES)}
    world.keys |= {f"{role}'s": _key(project, people[role]) for role in ROLES[:2]}
    world.keys |= {"stranger's": _key(elsewhere, stranger), "no key": ""}
    world.secrets = {WORD, project.pk, *(pk for pk in world.ids() if isinstance(pk, str) and len(pk) > 8)}
    world.smuggled, world.foreign_bodies, world.before = smuggled(world), foreign_bodies(world), world.rows()
    return world


def outsiders_and_a_reader() -> World:
    """The few of whom a small walk can ask everything: a reader looks at nothing, and strangers send no fields."""
    world = make_world()
    world.clients = {who: world.clients[who] for who in ("reader", "stranger", "visitor")}
    world.keys = {who: world.keys[who] for who in ("reader's", "stranger's", "no key")}
    world.blind, world.smuggled = {"reader", "reader's"}, []
    return world


def _person(project: Project, role: str, name: str = "") -> User:
    user = User.objects.create_user(f"{name or role}@example.com", "a long password")
    Membership.objects.create(user=user, project=project, role=role)
    return user


def _signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def _key(project: Project, user: User, scope: str = "all") -> str:
    return ApiKey.make(project=project, user=user, name=f"{user.pk} {scope}", scopes=[scope])[1]


def _fill(project: Project, owner: User) -> None:
    """What pages can show; `one_of_each` adds the tables that are still without a row."""
    base = makers.make_base_model()
    file = makers.make_file(project, filename=f"{WORD}.jsonl")
    job = makers.make_job(project, steps=40, status="succeeded", training_file=file, suffix="tickets")
    job.fine_tuned_model = "ft:tiny:hone:tickets:12345678"
    job.save()
    checkpoint = job.checkpoints.order_by("step").last()
    assert checkpoint
    _weights(job.folder / checkpoint.path_in_run)
    ended = {"status": "succeeded", "finished_at": timezone.now()}
    Export.objects.create(project=project, checkpoint=checkpoint, created_by=owner, **ended)
    _import(project)
    _stop_recipe(project, base, file)
    Tracker.objects.create(job=job, kind="tensorboard")
    AuditEntry.objects.create(project=project, who=owner.email, action="rename-dataset", kind="file", words=WORD)
    FileTask.objects.create(file=file, kind="repeats", status=FileTask.Status.FAILED, finished_at=timezone.now())
    _weights(exports.folder_of(checkpoint))
    _compare(project, owner, [base.name, checkpoint.name])
    _compare(project, owner, [base.name, checkpoint.name], blind=True)
    make_campaign(project, owner, [base.name, checkpoint.name], prompts=2)
    actions.invite(project=project, by=owner, email=f"{WORD}@example.com")


def _import(project: Project) -> None:
    """A job that was trained at OpenAI, with what is asked of its answer."""
    job = makers.make_job(project, status="succeeded")
    told = {"id": job.pk, "object": "fine_tuning.job", "created_at": 1, "model": f"gpt-{WORD}", "status": "succeeded"}
    ImportedJob.objects.create(job=job, model=told["model"], base=told["model"], answer=told)


def _stop_recipe(project: Project, base: BaseModel, file: DatasetFile) -> None:
    """A chain whose one stage failed, so that it can be tried again."""
    stages = [Stage(training_file=file.pk).model_dump(mode="json")]
    ended = {"at": 1, "problem": f"Stage 1 failed: {WORD}", "finished_at": timezone.now()}
    Chain.objects.create(project=project, base_model=base, label=WORD, stages_json=stages, **ended)


def _weights(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_model.safetensors").write_bytes(WORD.encode())
    (folder / "adapter_config.json").write_text("{}")


def _compare(project: Project, owner: User, models: list[str], blind: bool = False) -> Comparison:
    setup = Setup.model_validate({"columns": [{"model": name} for name in models]})
    made = comparisons.start_comparison(project=project, user=owner, setup=setup, blind=blind)
    turn = comparisons.add_turn(comparison=made, prompt=f"What is {WORD}?")
    for column in range(len(models)):
        comparisons.record_response(turn=turn, column=column, answer=Answer(text=f"{WORD} {column}"))
    return made


def smuggled(world: World) -> list[dict[str, Any]]:
    """Fields that pages and the API know, filled with what belongs to the project, as a stranger might send them. Some
    mean a file on one page and a job on another, so there is one set of fields for each."""
    job, model = world.row(TrainingJob).pk, world.row(Checkpoint).name
    prompts = world.row(PromptSet).pk
    same = {
        **{"model": model, "models": model, "target": model, "start": model, "start_checkpoint": model},
        **{"training_file": world.row(DatasetFile).pk, "validation_file": world.row(DatasetFile).pk},
        **{"matrix": world.row(Matrix).pk, "set": prompts, "prompt_set": prompts, "campaign": world.row(Campaign).pk},
        **{"comparison": world.row(Comparison).pk, "project": world.project.pk, "job": job, "parent": job},
        **{"name": "mine", "text": "Hello?", "split_share": "20", "validation": "none", "adaptation": "lora"},
    }
    either = (
        "from",
        "id",
        "ids",
        "file",
        "files",
        "source",
        "like",
        "of",
        "task",
        "path",
        "add",
        "a",
        "b",
        "checkpoint",
    )
    kinds = (DatasetFile, TrainingJob, Checkpoint, Comparison, Campaign)
    return [same | dict.fromkeys(either, world.row(kind).pk) for kind in kinds]


def foreign_bodies(world: World) -> dict[str, list[dict[str, Any]]]:
    """Bodies of calls that would be in order if the files and models that they name were the caller's."""
    file, model, job = world.row(DatasetFile).pk, world.row(Checkpoint).name, world.row(TrainingJob)
    stage = {"training_file": file}
    said = [{"role": "user", "content": "Hello?"}]
    names = (model, job.fine_tuned_model, f"{job.pk}:best", world.row(Alias).name)
    return {
        "/v1/fine_tuning/jobs": [{"model": name, **stage} for name in ("tiny", *names)],
        "/v1/fine_tuning/recipes": [{"model": "tiny", "stages": [stage, stage]}],
        "/v1/exports": [{"model": name} for name in names],
        "/v1/chat/completions": [{"model": name, "messages": said} for name in names],
        "/v1/completions": [{"model": name, "prompt": "Hello?"} for name in names],
        "/v1/fine_tuning/checkpoints/<fine_tuned_model_checkpoint>/permissions": [
            {"project_ids": [world.elsewhere.pk]}
        ],
        "/v1/uploads/<upload_id>/complete": [{"part_ids": ["part_1"]}],
        "/v1/webhook_endpoints/<endpoint_id>/test": [{"event_type": "fine_tuning.job.succeeded"}],
    }
