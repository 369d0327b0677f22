"""Merged weights, by plain transformers and peft: right ones are written, wrong ones are refused and leave nothing."""

import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import Project
from tests.factories import tiny_model
from tests.made_checkpoint import make_checkpoint
from training.engine.weights import weights_sha256
from training.models import BaseModel, Checkpoint, Export, TrainingJob


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("export") / "base")


@pytest.fixture(scope="module")
def checkpoint(base: Path) -> Path:
    return make_checkpoint(base, base.parent / "checkpoint")


def loaded_answers(folder: Path, checkpoint: Path) -> list[float]:
    """Of the probes, by a model that is loaded from this folder alone."""
    from transformers import AutoModelForCausalLM

    from training.engine.export import answers
    from training.engine.spec import Probes

    probes = Probes.model_validate_json((checkpoint / "probes.json").read_text())
    return answers(AutoModelForCausalLM.from_pretrained(folder, dtype="float32").eval(), probes)


def trained_answers(checkpoint: Path) -> list[float]:
    probes = json.loads((checkpoint / "probes.json").read_text())["probes"]
    return [value for probe in probes for value in probe["trained_logprobs"]]


def test_merged_weights_load_in_plain_transformers_and_answer_as_the_adapter(
    base: Path, checkpoint: Path, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    from training.engine.export import export

    report = export(base, checkpoint, tmp_path / "merged")
    assert report.status == "matches"
    assert report.mean_to_adapter is not None and report.adapter_to_base is not None
    assert report.mean_to_adapter < 1e-4 < 0.1 < report.adapter_to_base
    assert loaded_answers(tmp_path / "merged", checkpoint) == pytest.approx(trained_answers(checkpoint), abs=1e-3)
    assert not (tmp_path / "merged" / "adapter_config.json").exists()
    said = AutoTokenizer.from_pretrained(tmp_path / "merged").apply_chat_template(
        [{"role": "user", "content": "Order 1?"}], tokenize=False
    )
    assert "Order 1?" in said
    assert weights_sha256(tmp_path / "merged") == report.sha256


def test_a_merge_keeps_the_type_of_the_base(base: Path, checkpoint: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    from training.engine.export import export

    half = shutil.copytree(base, tmp_path / "half")
    AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16).save_pretrained(half)
    report = export(half, checkpoint, tmp_path / "merged")
    assert report.dtype == "bfloat16"
    assert report.mean_to_adapter is not None and 0 < report.mean_to_adapter < 0.05
    assert report.size_bytes < 0.75 * sum(path.stat().st_size for path in base.iterdir())


# ---- merges that are wrong ----


def leave_it_out(adapted: Any) -> Any:
    return adapted.unload()


def add_it_twice(adapted: Any) -> Any:
    for layer in adapted.modules():
        if hasattr(layer, "lora_A"):
            layer.scaling = {name: 2 * value for name, value in layer.scaling.items()}
    return adapted.merge_and_unload()


def subtract_it(adapted: Any) -> Any:
    for layer in adapted.modules():
        if hasattr(layer, "lora_A"):
            layer.scaling = {name: -value for name, value in layer.scaling.items()}
    return adapted.merge_and_unload()


def leave_out_a_layer(adapted: Any) -> Any:
    for name, weight in adapted.named_parameters():
        if "layers.0." in name and "lora_B" in name:
            weight.data.zero_()
    return adapted.merge_and_unload()


def make_it_infinite(adapted: Any) -> Any:
    merged = adapted.merge_and_unload()
    merged.model.layers[0].mlp.up_proj.weight.data[0, 0] = float("nan")
    return merged


@pytest.mark.parametrize("wrong", [leave_it_out, add_it_twice, subtract_it, leave_out_a_layer, make_it_infinite])
def test_a_wrong_merge_is_refused_and_leaves_nothing(
    base: Path, checkpoint: Path, tmp_path: Path, wrong: Callable[[Any], Any]
) -> None:
    from training.engine.export import Refused, export

    with pytest.raises(Refused, match="answer differently from the adapter") as refusal:
        export(base, checkpoint, tmp_path / "merged", merge=wrong)
    print(f"{wrong.__name__}: {refusal.value.message}")
    assert list(tmp_path.iterdir()) == []


# ---- asked for by a person, made by a worker ----


@pytest.fixture
def row(project: Project, base: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> Checkpoint:
    from training import exports

    monkeypatch.setattr(exports, "stopping", threading.Event())
    model = BaseModel.objects.create(
        name="tiny", source="folder", source_id=str(base), folder=str(base), status="ready"
    )
    job = TrainingJob.objects.create(
        project=project, base_model=model, status="succeeded", finished_at=timezone.now(), suffix="orders"
    )
    folder = shutil.copytree(checkpoint, job.folder / "checkpoints" / "epoch-1-step-10")
    return Checkpoint.objects.create(
        project=project,
        job=job,
        base_model=model,
        step=10,
        epoch=1,
        kind="lora",
        step_name="ft:tiny:hone:orders:abcdef01:ckpt-step-10",
        path_in_run="checkpoints/epoch-1-step-10",
        sha256=weights_sha256(folder),
    )


def test_a_worker_makes_what_was_asked_for(row: Checkpoint) -> None:
    from training import exports
    from training.actions import delete_checkpoint

    asked = exports.ask(checkpoint=row, user=None)
    assert [waiting.pk for waiting in exports.waiting()] == [asked.pk]
    exports.make(asked.pk)
    made = Export.objects.get(pk=asked.pk)
    assert (made.status, made.message) == ("succeeded", "")
    assert made.report["mean_to_adapter"] < 1e-4
    assert exports.ask(checkpoint=row, user=None).pk == asked.pk, "made once"
    assert exports.waiting() == []
    card = b"".join(exports.merged(made).read()).decode(errors="ignore")
    assert f"their sha256 is `{made.report['sha256']}`" in card
    delete_checkpoint(row)
    assert not Export.objects.exists()


def test_an_adapter_that_is_not_the_trained_one_is_not_merged_and_can_be_asked_for_again(
    row: Checkpoint, checkpoint: Path
) -> None:
    from training import exports

    weights = row.path / "adapter_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    asked = exports.ask(checkpoint=row, user=None)
    exports.make(asked.pk)
    asked.refresh_from_db()
    assert asked.status == "failed"
    assert "are not those that were trained" in asked.message
    assert not exports.folder_of(row).exists()
    again = exports.ask(checkpoint=row, user=None)
    assert (again.pk, again.status, again.message) == (asked.pk, "queued", "")
