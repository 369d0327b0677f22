"""Fills a database for benchmarks/load.py: jobs through the models, what belongs to them by a statement of SQL each."""

import random
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from accounts.models import Project
    from training.models import TrainingJob

SHARES = (50, 25, 15, 9, 1)  # per cent of the jobs, by project
LONG_JOBS, LONG_STEPS = 30, 100_000
CHECKPOINTS = 4
DEEP = 499 * 20  # jobs before page 500
STATES = {"succeeded": 85, "failed": 8, "cancelled": 7}
UNFINISHED = ("running", "queued", "paused", "queued")  # of the newest jobs
UNFINISHED_JOBS = 40
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)

# what SQLite and Postgres say differently: the numbers up to one, a moment out of unix seconds, JSON, the larger of two
WORDS = {
    "sqlite": {
        "to_step": "CROSS JOIN numbers WHERE n <= jobs.step ORDER BY jobs.id",  # the indexes grow at their ends
        "to": "CROSS JOIN numbers WHERE n <=",
        "moment": "datetime(1767225600 + n, 'unixepoch')",
        "json": "text",
        "larger": "max",
    },
    "postgresql": {
        "to_step": "CROSS JOIN generate_series(1, jobs.step) n",
        "to": "CROSS JOIN generate_series(1, 100) n WHERE n <=",
        "moment": "to_timestamp(1767225600 + n)",
        "json": "jsonb",
        "larger": "greatest",
    },
}
NUMBERS = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -2000000;
CREATE TEMPORARY TABLE numbers (n integer PRIMARY KEY);
INSERT INTO numbers
WITH RECURSIVE up(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM up WHERE n < 100000) SELECT n FROM up
"""
METRICS = """
INSERT INTO training_metric (job_id, step, revision, time, epoch, train_loss, train_accuracy, learning_rate, grad_norm,
    trained_tokens, tokens_per_second, memory_bytes, valid_loss, full_valid_loss, more)
SELECT jobs.id, n, n, 1767225600 + n, 4.0 * n / jobs.step, 0.3 + 2.0 / (1 + n) + 0.01 * (n % 7), 0.7, 0.0003, 0.5,
    80 * n, 1500.5, 900000000, CASE WHEN n % 10 = 0 THEN 0.4 + 2.0 / (1 + n) END,
    CASE WHEN n % {larger}(1, jobs.step / {checkpoints}) = 0 THEN 0.45 + 2.0 / (1 + n) END,
    CAST('{{}}' AS {json})
FROM training_trainingjob jobs {to_step}
"""
EVENTS = """
INSERT INTO training_jobevent (event_id, job_id, created_at, level, type, message, data, step)
SELECT 'ftevent-' || substr(jobs.id, 7) || n, jobs.id, {moment}, 'info', 'metrics',
    'Step ' || n || '/' || jobs.step || ': training loss=0.42',
    CAST('{{"step": ' || n || ', "total_steps": ' || jobs.step
    || ', "train_loss": 0.4213, "train_mean_token_accuracy": 0.7}}' AS {json}), n
FROM training_trainingjob jobs {to_step}
"""
MESSAGES = """
INSERT INTO training_jobevent (event_id, job_id, created_at, level, type, message, data, step)
SELECT 'ftevent-' || substr(jobs.id, 7) || 'm' || n, jobs.id, jobs.created_at, 'info', 'message', 'Message ' || n,
    CAST('{{}}' AS {json}), NULL
FROM training_trainingjob jobs {to} 6
"""
CHECKPOINT_ROWS = """
INSERT INTO training_checkpoint (id, project_id, job_id, base_model_id, step, epoch, kind, step_name, final_name, label,
    path_in_run, size_bytes, sha256, full_valid_loss, more, created_at)
SELECT 'ftckpt_' || substr(jobs.id, 7) || n, jobs.project_id, jobs.id, jobs.base_model_id,
    n * (jobs.step / {checkpoints}), n, 'lora',
    jobs.fine_tuned_model || ':ckpt-step-' || (n * (jobs.step / {checkpoints})),
    CASE WHEN n = {checkpoints} THEN jobs.fine_tuned_model END, '', 'checkpoints/' || n, 40000000, 'none',
    0.45 + 2.0 / (1 + n), CAST('{{}}' AS {json}), jobs.finished_at
FROM training_trainingjob jobs {to} {checkpoints}
    AND jobs.status = 'succeeded' AND jobs.step >= 8
"""


def fill(jobs: int, points: int) -> dict[str, Any]:
    """All rows; what benchmarks.load must know of them."""
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connection

    call_command("migrate", verbosity=0)
    projects, known = people()
    made = make_jobs(projects, steps_of(jobs, points))
    in_sql()
    mine = [job for job in made if job.project_id == projects[0].pk and job.archived_at is None]
    long = [job.pk for job in mine if job.step == LONG_STEPS]
    few = [job for job in mine if 8 <= job.step <= 1000 and job.status == "succeeded"]
    with connection.cursor() as cursor:
        size = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
        if connection.vendor == "postgresql":
            cursor.execute("VACUUM ANALYZE")  # as its autovacuum does after a while; nobody does it for SQLite
            size = "SELECT pg_database_size(current_database())"
        cursor.execute(size)
        gigabytes = cursor.fetchone()[0] / 1e9
    newest_first = sorted(mine, key=lambda job: (job.created_at, job.pk), reverse=True)
    return known | {
        "short": [job.pk for job in random.Random(2).sample(few, min(60, len(few)))],
        "long": long,
        "running": [job.pk for job in mine if job.status == "running" and job.step > 1],
        "deep_job": newest_first[min(DEEP, len(newest_first)) - 1].pk,
        "deep_events": {pk: f"ftevent-{pk[6:]}{LONG_STEPS // 2}" for pk in long},
        "model": few[0].fine_tuned_model,
        "gigabytes": gigabytes,
    }


def people() -> tuple[list["Project"], dict[str, str]]:
    """The projects, and a person's key and session in the first."""
    from django.test import Client

    from accounts.models import ApiKey, Membership, Project, User

    projects = [Project.objects.create(name=f"Team {number}") for number in range(len(SHARES))]
    user = User.objects.create_user("bench@example.com")
    for project in projects:
        Membership.objects.create(user=user, project=project, role="owner")
    client = Client()
    client.force_login(user)
    key = ApiKey.make(project=projects[0], user=user, name="benchmark")[1]
    return projects, {"key": key, "session": client.cookies["sessionid"].value}


def steps_of(jobs: int, points: int) -> list[int]:
    """Of each job: some very long ones, and many of about a hundred steps, a few of them much longer than most."""
    chance = random.Random(1)
    weights = [chance.lognormvariate(0, 1.2) for _ in range(jobs - LONG_JOBS)]
    each = (points - LONG_JOBS * LONG_STEPS) / sum(weights)
    found = [round(weight * each) for weight in weights] + [LONG_STEPS] * LONG_JOBS
    chance.shuffle(found)
    return found


def make_jobs(projects: list["Project"], steps: list[int]) -> list["TrainingJob"]:
    """A minute apart, oldest first; seven of ten with metadata, one of ten archived."""
    from tests import makers
    from training.engine.spec import Recipe
    from training.metadata_pair import MetadataPair, pairs_of
    from training.models import TrainingJob

    chance, recipe = random.Random(1), Recipe()
    base = makers.make_base_model("bench")
    files = {project.pk: makers.make_file(project) for project in projects}
    given = {
        "base_model": base,
        "recipe_json": recipe.model_dump(mode="json"),
        "resolved_json": makers.make_resolved(recipe).model_dump(mode="json"),
        "estimate_json": makers.make_estimate(100).model_dump(mode="json"),
    }
    jobs = []
    for number, count in enumerate(steps):
        project = chance.choices(projects, SHARES)[0]
        late = number - (len(steps) - UNFINISHED_JOBS)
        status = chance.choices([*STATES], [*STATES.values()])[0] if late < 0 else UNFINISHED[late % len(UNFINISHED)]
        if status == "queued":
            count = 0
        elif count == LONG_STEPS:
            status, project = "succeeded", projects[number % 2]
        at = BEGAN + timedelta(minutes=number)
        job = TrainingJob(
            project=project, status=status, step=count, total_steps=count, revision=count, suffix=f"bot-{number % 500}",
            created_at=at, queued_at=at, started_at=None if status == "queued" else at, phase="training",
            finished_at=at + timedelta(minutes=5) if status in STATES else None,
            archived_at=at if late < 0 and number % 10 == 3 and count < LONG_STEPS else None,
            training_file=files[project.pk], training_file_name="tickets.jsonl", colour=number % 8,
            metadata={"team": f"team-{number % 10}", "number": str(number)} if number % 10 < 7 else None,
            started_json=makers.STARTED | {"total_steps": count, "steps_per_epoch": max(1, count // CHECKPOINTS)},
            **given,
        )  # fmt: skip
        job.fine_tuned_model = f"ft:bench:hone:{job.suffix}:{job.pk[6:14]}" if status == "succeeded" else ""
        jobs.append(job)
    TrainingJob.objects.bulk_create(jobs, batch_size=2000)
    MetadataPair.objects.bulk_create(pairs_of(jobs), batch_size=2000)
    return jobs


def in_sql() -> None:
    """Metric rows, event log and checkpoints."""
    from django.db import connection

    words: dict[str, Any] = WORDS[connection.vendor] | {"checkpoints": CHECKPOINTS}
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET session_replication_role = replica")  # the rows that it would look up are all there
            cursor.execute("ALTER SYSTEM SET max_wal_size = '8GB'")
            cursor.execute("ALTER SYSTEM SET full_page_writes = off")
            cursor.execute("SELECT pg_reload_conf()")
        else:
            cursor.cursor.executescript(NUMBERS)
        for statement in (METRICS, EVENTS, MESSAGES, CHECKPOINT_ROWS):
            began = time.monotonic()
            cursor.execute(statement.format(**words))
            print(f"{statement.split()[2]}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
        if connection.vendor == "postgresql":
            cursor.execute("ALTER SYSTEM RESET ALL")
        else:
            cursor.execute("PRAGMA journal_mode = WAL")
