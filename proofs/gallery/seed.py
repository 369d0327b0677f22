"""Rows for every state of every page, without trainer and vLLM; `main` prints the addresses as JSON."""

import json
import os
import time
from datetime import timedelta
from functools import reduce
from typing import Any

from django.contrib.sessions.backends.db import SessionStore
from django.core.management import call_command
from django.urls import reverse
from django.utils import timezone

from accounts import actions as people
from accounts.models import ApiKey, Membership, OneTimeLink, Project, User
from playground import comparisons, deployments
from playground.comparisons import Answer
from playground.forms import Setup
from playground.models import Comparison, Deployment, Verification
from proofs.gallery import datasets as data_desk
from proofs.gallery import keeping, methods
from tests import factories, makers
from training import catalogue, checks, files, home, preparation, splits, uploads
from training.aliases import pointing
from training.engine.spec import Phase, Recipe
from training.models import BaseModel, Checkpoint, DatasetFile, Metric, TrainingJob
from training.permissions import granting

BASE = "SmolLM2-135M-Instruct"
LONG = "a-very-long-name-that-somebody-gave-to-find-it-again-" * 4
TICKET = '{"category": "billing", "product": "team plan", "priority": "high", "summary": "Billed for two too many"}'
MARKDOWN = """Three things help:\n
1. **Restart** the router and wait a minute.\n2. Check the cable.\n3. Run `ping 1.1.1.1`.\n
```sh\nping -c 3 1.1.1.1\n```\n
| Light | Meaning |\n|---|---|\n| green | connected |\n| red | no line |\n\n"""
ROW = b'{"messages": [{"role": "user", "content": "Order 1?"}, {"role": "assistant", "content": "Done."}]}\n'
FILES = {
    "not-json.jsonl": b'{"messages": [}\nhello\n' * 30,
    "latin-1.jsonl": '{"messages": [{"role": "user", "content": "Größe?"}]}\n'.encode("latin-1"),
    "wrong-roles.jsonl": b'{"messages": [{"role": "human", "content": "Hi"}, {"role": "bot", "content": "Hm"}]}\n' * 12,
    "archive.jsonl": b"PK\x03\x04" + bytes(400),
    "one-row.jsonl": ROW,
    "long-line.jsonl": ROW * 10 + b'{"messages": "' + b"x" * 11_000_000 + b'"}\n',
    "gone.jsonl": ROW * 20,
    f"{LONG}.jsonl": ROW * 20,
}


def main() -> None:
    call_command("migrate", verbosity=0)
    base_models()
    empty = project_with_owner("Nothing yet", "second@example.com")[1]
    project, owner = project_with_owner("Customer support", "ada@example.com", "Ada Lovelace")
    colleagues(project, owner)
    datasets = seed_datasets(project, owner)
    jobs = seed_jobs(project, owner, datasets)
    serve(jobs)
    compared = seed_comparisons(project, owner, jobs)
    others = methods.seed(project, owner, BaseModel.objects.get(name=BASE), jobs)
    desk, keeper = project_with_owner("Data desk", "keeper@example.com", "Kay Keeper")
    lend(keeper, desk, project)
    shown = data_desk.seed(desk, keeper, BaseModel.objects.get(name=BASE))
    others |= keeping.seed(project, owner, BaseModel.objects.get(name=BASE))
    pages = {
        "data": {"cookie": cookie(keeper), "pages": shown},
        "empty": {"cookie": cookie(empty), "pages": plain_pages() | keeping.server_pages()},
        "full": {"cookie": cookie(owner), "pages": full_pages(datasets, jobs, compared) | others},
        "nobody": {"cookie": "", "pages": account_pages(project, owner) | keeping.docs_pages()},
        "reader": {"cookie": cookie(User.objects.get(email=keeping.READER)), "pages": plain_pages()},
    }
    print(json.dumps(pages))


def project_with_owner(name: str, email: str, person: str = "") -> tuple[Project, User]:
    project = Project.objects.create(name=name)
    user = User.objects.create_superuser(email, "a long password", name=person)
    Membership.objects.create(project=project, user=user, role="owner")
    return project, user


def cookie(user: User) -> str:
    """A session as signing in makes it."""
    session = SessionStore()
    session["_auth_user_id"] = str(user.pk)
    session["_auth_user_backend"] = "django.contrib.auth.backends.ModelBackend"
    session["_auth_user_hash"] = user.get_session_auth_hash()
    session.create()
    return str(session.session_key)


def base_models() -> None:
    tiny = catalogue.add_from_folder(factories.tiny_model(home.home() / BASE))
    small = {"parameters": 134_515_008, "layers": 30, "hidden_size": 576, "intermediate_size": 1536}
    facts = makers.FACTS.model_copy(update=small | {"vocabulary": 49_152, "has_chat_template": True})
    columns = {"licence": "apache-2.0", "bytes_total": 269_060_552, "title": "SmolLM2 135M Instruct"}
    BaseModel.objects.filter(pk=tiny.pk).update(facts_json=facts.model_dump(), **columns)
    large = facts.model_copy(update={"parameters": 8_190_735_360, "hidden_size": 4096, "layers": 36})
    hub = {"source": "hub", "licence": "apache-2.0", "facts_json": large.model_dump()}
    wanted = {"status": "absent", "bytes_total": 16_381_470_720}
    BaseModel.objects.create(name="Qwen3-8B", source_id="Qwen/Qwen3-8B", **hub | wanted)
    coming = {"status": "downloading", "bytes_total": 1_500_000_000, "bytes_done": 430_000_000}
    BaseModel.objects.create(name="Qwen3-0.6B", source_id="Qwen/Qwen3-0.6B", **hub | coming)
    why = "The hub answered 401: this model asks for its licence to be accepted. Set HONE_HUB_TOKEN and try again."
    failed = {"status": "failed", "status_text": why, "facts_json": {}, "licence": ""}
    BaseModel.objects.create(name="gated-model", source_id="somebody/gated-model", **hub | failed)
    makers.make_base_model("gone-model", "/srv/models/gone-model", source_id="/srv/models/gone-model")


def colleagues(project: Project, owner: User) -> None:
    for email, name in (("grace@example.com", "Grace Hopper"), (f"{'a.long.address.' * 3}@example.com", "")):
        user = User.objects.create_user(email, "a long password", name=name)
        Membership.objects.create(project=project, user=user)
    people.invite(project=project, by=owner, email="katherine@example.com")
    people.invite(project=project, by=owner, role="owner")
    for name in ("Nightly evaluation", LONG[:110]):
        ApiKey.make(project=project, user=owner, name=name)


def seed_datasets(project: Project, owner: User) -> dict[str, DatasetFile]:
    made = {file.filename: file for file in files.ensure_samples(project)}
    rows = [factories.chat_row(f"Order {n % 40}?", "", "Be kind.") for n in range(60)] + factories.chat_rows(60)
    warned = "".join(json.dumps(row) + "\n" for row in rows).encode()
    for name, content in (FILES | {"warnings.jsonl": warned}).items():
        made[name] = files.create_file(project, owner, name, "fine-tune", content)
        if made[name].status == "uploaded":  # too large to be checked on arrival
            checks.check(made[name].pk)
    made["gone.jsonl"].path.unlink()
    splits.split(made["ticket-train.jsonl"], share=0.2, seed=0, user=owner)
    half = uploads.begin_upload(project, owner, "half-way.jsonl", 80_000_000)
    half.part_path.write_bytes(bytes(31_000_000))
    checking = DatasetFile.objects.create(project=project, filename="two-million-rows.jsonl", bytes=1_900_000_000)
    checking.path.parent.mkdir(parents=True, exist_ok=True)
    checking.path.touch()
    DatasetFile.objects.filter(pk=checking.pk).update(check_share=0.42)
    return made | {"checking": checking}


def seed_jobs(project: Project, owner: User, datasets: dict[str, DatasetFile]) -> dict[str, TrainingJob]:
    data = {"training_file": datasets["ticket-train.jsonl"], "validation_file": datasets["ticket-valid.jsonl"]}
    data |= {"base_model": BaseModel.objects.get(name=BASE), "created_by": owner, "suffix": "ticket"}

    def make(name: str, status: str, steps: int = 0, total: int = 400, **fields: Any) -> TrainingJob:
        drawn = {"label": name, "colour": TrainingJob.objects.count() % 10, "seed": 7, "status": status}
        return makers.make_job(project, **data | drawn | {"steps": steps, "total_steps": total} | fields)

    done = finished(make("Tickets", "succeeded", 400))
    twice = Recipe(lora_r=32, n_epochs=4, learning_rate_multiplier=2.0)
    soon = {"estimated_finish_at": timezone.now() + timedelta(minutes=14)}
    inf = "The loss was not finite at step 62 (epoch 1, rows 245 to 248): inf.\nLower the learning rate multiplier."
    bad = {"error_code": "invalid_training_file", "error_message": "The job failed due to an invalid training file."}
    jobs = {
        "done": done,
        "rerun": finished(make("Tickets, twice the rank", "succeeded", 400, parent=done, recipe=twice)),
        "short": finished(make("First steps", "succeeded", 24, 24)),
        "running": make("House voice", "running", 230, phase="training", status_text="Epoch 3 of 4", **soon),
        "began": make("Just begun", "running", phase="tokenizing", status_text="Tokenizing the dataset: 80 of 120"),
        "queued": make("Waits", "queued", parent=done),
        "long": make(LONG[:180], "queued"),
        "checking": make("Files are checked", "validating_files"),
        "paused": make("Paused for the night", "paused", 120),
        "failed": make("Diverged", "failed", 61, error_code="non_finite_loss", error_message=inf),
        "failed_data": make("Bad data", "failed", training_file=datasets["not-json.jsonl"], **bad),
        "cancelled": make("Stopped", "cancelled", 40),
        "unvalidated": make("No validation", "succeeded", 40, 40, validation_file=None),
    }
    now = time.time()
    told = [Phase(time=now - 4, phase="tokenizing"), Phase(time=now - 1, phase="tokenizing", done=80, total=120)]
    jobs["began"].preparation = reduce(preparation.noted, told, preparation.begun(now - 12))
    jobs["began"].started_json = None
    jobs["began"].save()
    makers.make_checkpoint(
        jobs["running"], step=215, epoch=3, size_bytes=19_800_000, train_loss=0.61
    )  # saved on demand
    TrainingJob.objects.filter(status__in=("queued", "validating_files")).update(started_at=None)
    unseen = {"full_valid_loss": None, "full_valid_accuracy": None}
    Metric.objects.filter(job=jobs["unvalidated"]).update(valid_loss=None, valid_accuracy=None, **unseen)
    jobs["unvalidated"].checkpoints.update(**unseen)
    makers.add_events(done, "Validating training file", "Fine-tuning job started", "New fine-tuned model created")
    done.folder.mkdir(parents=True, exist_ok=True)
    (done.folder / "trainer.log").write_text("loading the model\n" * 40)
    for number in range(4):
        make(f"Older failure {number}", "failed", error_message="The trainer was killed: out of memory.")
    return jobs


def finished(job: TrainingJob) -> TrainingJob:
    last = job.checkpoints.latest("step")
    job.fine_tuned_model = last.final_name = last.step_name.partition(":ckpt-step")[0]
    last.save()
    job.save()
    return job


def serve(jobs: dict[str, TrainingJob]) -> None:
    """Every state that a deployment can be in."""
    deployments.beat()
    os.utime(deployments.heartbeat_path(), (4e9, 4e9))  # fresh for as long as pictures are taken
    Deployment.objects.create(base_model=BaseModel.objects.get(name=BASE), state="ready")
    states: list[dict[str, str]] = [
        {"state": "ready", "proof": "verified"},
        {"state": "ready", "proof": "too_close"},
        {"state": "loading", "reason": "Loading the checkpoint and comparing its answers with the trained weights."},
        {"state": "queued", "reason": "Next in line after Tickets, epoch 3."},
    ]
    for checkpoint, state in zip(jobs["done"].checkpoints.order_by("step"), states, strict=True):
        Deployment.objects.create(checkpoint=checkpoint, **state)
    reason = "vLLM's answers are as far from the trained weights as the base's (0.81 nats a token)."
    refused = jobs["rerun"].checkpoints.earliest("step")
    Deployment.objects.create(checkpoint=refused, state="failed", proof="refused", reason=reason)
    figures = {"mean_to_trained": 0.81, "max_to_trained": 3.1, "mean_to_base": 0.79, "max_to_base": 3.0, "tokens": 64}
    Verification.objects.create(checkpoint=refused, proof="refused", reason=reason, **figures)


def lend(owner: User, theirs: Project, project: Project) -> None:
    """A model of another project that this one may ask."""
    base = BaseModel.objects.get(name=BASE)
    job = finished(makers.make_job(theirs, base_model=base, suffix="invoices", status="succeeded", steps=400))
    granting.share(job.checkpoints.latest("step"), owner, [project.pk])
    ended = job.checkpoints.earliest("step")
    permission = granting.share(ended, owner, [project.pk])[0]
    pointing.promote(project, None, "invoice-bot", ended)
    granting.take_back(ended, owner, permission.pk)


def seed_comparisons(project: Project, owner: User, jobs: dict[str, TrainingJob]) -> dict[str, Comparison]:
    tuned = [each.name for each in Checkpoint.objects.filter(job=jobs["done"]).order_by("step")]
    other = [each.name for each in Checkpoint.objects.filter(job=jobs["rerun"]).order_by("step")]

    def start(*models: str, blind: bool = False, vote: bool = False, **answers: str) -> Comparison:
        system = "Write the customer's message as one JSON ticket with the fields category, product and summary."
        setup = Setup.model_validate({"columns": [{"model": model} for model in models], "system": system})
        made = comparisons.start_comparison(project=project, user=owner, setup=setup, blind=blind)
        if answers:
            ask(made, owner, vote, **answers)
        return made

    said = {"prompt": "Since the update my team plan bills me for 12 people. We are 10!"}
    for number in range(8):
        start(BASE, tuned[-1], blind=number % 2 == 0, vote=True, prompt=f"My invoice {number} shows two seats too many")
    return {
        "two": start(BASE, tuned[-1], vote=True, **said),
        "four": start(BASE, *tuned[:3], vote=True, **said),
        "six": start(BASE, *tuned, other[0], **said),
        "long": start(BASE, other[-1], text=MARKDOWN * 3, **said),
        "failed": start(BASE, tuned[0], other[0], error="vLLM did not answer for 120 s. Retry.", **said),
        "blind_hidden": start(BASE, tuned[0], tuned[-1], blind=True, **said),
        "blind_new": start(BASE, tuned[-1], blind=True),
        "blind_voted": start(BASE, tuned[-1], blind=True, vote=True, **said),
    }


def ask(made: Comparison, owner: User, vote: bool, prompt: str, text: str = "", error: str = "") -> None:
    turn = comparisons.add_turn(comparison=made, prompt=prompt)
    figures = {"prompt_tokens": 58, "completion_tokens": 44, "first_token_seconds": 0.21, "tokens_per_second": 23.4}
    for index, column in enumerate(made.columns):
        said = text or ("I am sorry to hear that. Please contact support." if column["model"] == BASE else TICKET)
        failed = error and index == len(made.columns) - 1
        answer = Answer(error=error) if failed else Answer(text=said, stop_reason="stop", **figures)
        comparisons.record_response(turn=turn, column=index, answer=answer)
    if vote:
        best = next(index for index, column in enumerate(made.columns) if column["model"] != BASE)
        comparisons.record_vote(turn=turn, voter=owner, verdict="best", best_column=best)


# ---- addresses ----


def plain_pages() -> dict[str, str]:
    names = (
        "overview",
        "datasets",
        "jobs",
        "new-job",
        "models",
        "playground",
        "votes",
        "settings",
        "compare-jobs",
        "aliases",
    )
    return {name: reverse(name) for name in names}


def full_pages(
    datasets: dict[str, DatasetFile], jobs: dict[str, TrainingJob], compared: dict[str, Comparison]
) -> dict[str, str]:
    done = reverse("job", args=[jobs["done"].pk])
    tuned = f"?models={BASE},{jobs['done'].fine_tuned_model}"
    seen = [*FILES, "ticket-train.jsonl", "warnings.jsonl", "checking"]
    return {
        **plain_pages(),
        "compare-jobs": reverse("compare-jobs") + "?ids=" + ",".join(jobs[j].pk for j in ("done", "rerun", "running")),
        **{f"dataset-{name[:20]}": reverse("dataset", args=[datasets[name].pk]) for name in seen},
        **{f"job-{name}": reverse("job", args=[job.pk]) for name, job in jobs.items()},
        **{f"tab-{tab}": f"{done}?tab={tab}" for tab in ("data", "configuration", "estimate", "log", "lineage")},
        "rerun": f"{reverse('new-job')}?from={jobs['done'].pk}",
        **{
            f"playground-{name}": reverse("blind-comparison" if it.blind else "comparison", args=[it.pk])
            for name, it in compared.items()
        },
        "playground-new": reverse("playground") + tuned,
        "jobs-none-fit": reverse("jobs") + "?q=nothing-like-this",
        "votes-blind": reverse("votes") + "?blind=1",
        "not-found": "/jobs/ftjob-none/",
    }


def account_pages(project: Project, owner: User) -> dict[str, str]:
    invited = people.invite(project=project, by=owner, email="visitor@example.com")
    links = {"join": invited, "reset": OneTimeLink.make("reset", user=owner)[1], "link-gone": "nothing"}
    pages = {name: reverse("link", args=[link]) for name, link in links.items()}
    return pages | {"sign-in": reverse("sign-in"), "forgotten": reverse("forgotten-password")}
