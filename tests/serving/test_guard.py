"""A guard model on vLLM: its answers are read with vLLM's own log-probabilities, and what is no verdict is told.

The tiny random Llama is no guard; an adapter that has learned two verdicts by heart is one.
"""

from pathlib import Path

import pytest

from accounts.models import Project
from playground import deployments
from playground.fleet import Fleet
from tests.serving.conftest import Shelf, Stand, settle, state_is
from tests.serving.test_real import train
from training.safety.asking import Server
from training.safety.classifiers import classifier_of
from training.safety.guard_model import Guard, NoVerdict
from training.safety.guards import FAMILIES
from training.safety.models import ModerationPolicy

VERDICTS = {"A vile thing to say.": "unsafe\nS10", "Good morning.": "safe"}


def guard_on(stand: Stand, model: str) -> Guard:
    server = Server(stand.server.url + "/v1", "", "The guard model", tries=1)
    return Guard(FAMILIES["llama-guard"], model, lambda: (server, model))


@pytest.mark.vllm
def test_a_model_that_is_no_guard_has_no_verdict(real_stand: Stand) -> None:
    with pytest.raises(NoVerdict, match="which is no verdict of Llama Guard 3 or 4") as error:
        guard_on(real_stand, "tiny").judge(["Good morning."])
    print(error.value.message)


@pytest.mark.vllm
def test_a_guard_on_vllm_judges_with_the_probability_of_its_verdict(real_stand: Stand, tmp_path: Path) -> None:
    rows = [
        {"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": verdict}]}
        for text, verdict in VERDICTS.items()
    ]
    adapter = train(real_stand.base, tmp_path, rows * 8, n_epochs=4)
    real_stand.server.load_adapter("ft:tiny:guard", adapter)
    try:
        bad, good = guard_on(real_stand, "ft:tiny:guard").judge(list(VERDICTS))
    finally:
        real_stand.server.unload_adapter("ft:tiny:guard")
    print(bad, good)
    assert bad.flagged and bad.categories == ("hate",) and not good.flagged
    assert bad.score and bad.score > 0.5 and good.score is not None and good.score < 0.5
    assert bad.scores["hate"] == bad.score


@pytest.mark.django_db(transaction=True)
def test_a_model_of_hones_list_is_asked_where_it_is_served(shelf: Shelf, fleet: Fleet, project: Project) -> None:
    base = shelf.base()
    deployments.want(base_model=base)
    settle(fleet, state_is("ready", base))
    policy = ModerationPolicy(project=project, model=base.name, guard="llama-guard")
    with pytest.raises(NoVerdict, match=r"The guard model tiny did not judge: it answered “tiny heard Good morning\.”"):
        classifier_of(policy).judge(["Good morning."])
