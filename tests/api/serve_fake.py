"""Rows of a base model that a vLLM answers for: `python -m tests.api.serve_fake NAME FOLDER URL`."""

import os
import sys
from pathlib import Path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dashboard.settings")

import django

django.setup()

# ruff: noqa: E402 - models need the app registry
from playground import deployments
from tests.api.seed import add_model
from training.models import BaseModel

if __name__ == "__main__":
    name, folder, url = sys.argv[1:]
    add_model(Path(folder), name)
    row = deployments.want(base_model=BaseModel.objects.get(name=name))
    deployments.change(row, state="ready", url=url)
