"""What the rows need in a fresh Hone: two projects with keys, and a tiny base model known by its name and by a hub id.

    python -m proofs.clients.cast MODEL_FOLDER

prints the keys as JSON; each call makes new projects.
"""

import sys
from pathlib import Path

from proofs.clients.rows.stage import HUB_ID
from tests.api import seed
from training.engine.facts import read_model_facts
from training.models import BaseModel


def main() -> None:
    seed.main()
    folder = Path(sys.argv[1])
    name = HUB_ID.split("/")[1]
    known = {"folder": str(folder), "source": "hub", "source_id": HUB_ID, "status": BaseModel.Status.READY}
    facts = read_model_facts(folder, name).model_dump()
    BaseModel.objects.update_or_create(name=name, defaults={**known, "facts_json": facts})


main()
