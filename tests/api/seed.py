"""Fills a database for the API tests: `python -m tests.api.seed MODEL_FOLDER` prints the keys."""

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dashboard.settings")

import django

django.setup()

# ruff: noqa: E402 - models need the app registry
from accounts.ids import new_id
from accounts.models import ApiKey, Membership, Project, User
from training.engine.facts import read_model_facts
from training.models import BaseModel


def person(project: Project, role: str) -> User:
    user = User.objects.create_user(f"{new_id('', 10).lower()}@example.com", "a long password")
    Membership.objects.create(user=user, project=project, role=role)
    return user


def add_model(folder: Path, name: str) -> None:
    facts = read_model_facts(folder, name)
    fields = {"folder": str(folder), "source": "folder", "source_id": str(folder), "status": BaseModel.Status.READY}
    BaseModel.objects.update_or_create(name=name, defaults={**fields, "facts_json": facts.model_dump()})


def main() -> None:
    project, elsewhere = Project.objects.create(name="Support"), Project.objects.create(name="Elsewhere")
    owner, member = person(project, Membership.Role.OWNER), person(project, Membership.Role.MEMBER)
    stranger = person(elsewhere, Membership.Role.OWNER)
    people = {"key": (project, owner), "member_key": (project, member), "stranger_key": (elsewhere, stranger)}
    keys = {name: ApiKey.make(project=where, user=who, name="test")[1] for name, (where, who) in people.items()}
    add_model(Path(sys.argv[1]), "tiny")
    third = Project.objects.create(name="Nowhere")
    projects = {"project": project.id, "stranger_project": elsewhere.id, "third_project": third.id}
    print(json.dumps({**keys, **projects}))


if __name__ == "__main__":
    main()
