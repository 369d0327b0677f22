"""The job form: what is typed becomes a recipe; what is wrong names its field."""

from typing import Any

import pytest

from accounts.models import Project
from dashboard import differences, form_start, job_as_code
from dashboard.forecast import forecast
from dashboard.forms import JobForm
from tests import makers
from training.engine.spec import DeviceFacts, Recipe

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def base_models_are_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.models.BaseModel.is_present", True)


def form_of(project: Project, **values: Any) -> JobForm:
    makers.BaseModel.objects.filter(name="tiny").exists() or makers.make_base_model()
    file = makers.DatasetFile.objects.of(project).first() or makers.make_file(project)
    usual = {"model": "base:tiny", "training_file": file.pk, "validation": "none", "adaptation": "lora"}
    return JobForm(usual | values, project=project)


def test_everything_left_empty_is_auto(project: Project) -> None:
    form = form_of(project)
    assert form.is_valid(), form.errors
    assert form.recipe == Recipe()


def test_a_file_with_too_few_rows_says_so_where_it_is_chosen_to_train_on(project: Project) -> None:
    few = makers.make_file(project, "few.jsonl", rows=9)
    form = form_of(project)
    labels = {name: dict(form.fields[name].choices) for name in ("training_file", "validation_file")}
    assert [labels[name][few.pk] for name in labels] == [
        "few.jsonl · 9 rows · too few, 10 are needed",
        "few.jsonl · 9 rows",
    ]


def test_the_word_auto_and_numbers_are_understood(project: Project) -> None:
    form = form_of(project, n_epochs="Auto", batch_size=" 8 ", learning_rate_multiplier="1e-1", target_modules="a, b c")
    assert form.is_valid(), form.errors
    assert form.recipe == Recipe(batch_size=8, learning_rate_multiplier=0.1, target_modules=["a", "b", "c"])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("n_epochs", value) for value in ("0", "51", "-1", "2.5", "three", "1" * 30)),
        *(("batch_size", value) for value in ("0", "257", "x")),
        *(("learning_rate_multiplier", value) for value in ("0", "-1", "1001", "nan", "inf", "fast")),
        *(("lora_r", value) for value in ("0", "257", "1.5")),
        *(("lora_alpha", value) for value in ("0", "1025")),
        *(("lora_dropout", value) for value in ("-0.1", "1", "auto")),
        *(("max_length", value) for value in ("15", "1048577")),
        *(("lr_scheduler", value) for value in ("wavy",)),
        *(("warmup_ratio", value) for value in ("-0.1", "1", "lots")),
        *(("weight_decay", value) for value in ("-1", "1.1")),
        *(("max_grad_norm", value) for value in ("0", "-2", "1001")),
        *(("dtype", value) for value in ("float64",)),
        *(("packing", value) for value in ("maybe",)),
        *(("lora_variant", value) for value in ("vera",)),
        *(("quantization", value) for value in ("8bit",)),
        *(("optimizer", value) for value in ("sgd",)),
        *(("min_learning_rate_ratio", value) for value in ("-0.1", "1")),
        *(("neftune_alpha", value) for value in ("-1", "101", "auto")),
        *(("gradient_checkpointing", value) for value in ("sometimes",)),
        *(("validate_every_steps", value) for value in ("-1", "2.5")),
        *(("adaptation", value) for value in ("qlora",)),
        *(("seed", value) for value in ("-1", "2147483648", "x")),
        *(("suffix", value) for value in ("a:b", "a/b", "a b", "x" * 65)),
        *(("model", value) for value in ("base:none", "checkpoint:none", "")),
        *(("training_file", value) for value in ("file-none", "")),
    ],
)
def test_a_wrong_value_names_its_field_and_no_other(project: Project, field: str, value: str) -> None:
    form = form_of(project, **{field: value})
    assert not form.is_valid()
    assert list(form.errors) == [field]
    assert form.errors[field][0].strip()


def test_the_training_file_cannot_validate_itself(project: Project) -> None:
    file = makers.make_file(project)
    form = form_of(project, training_file=file.pk, validation="file", validation_file=file.pk)
    assert "validation_file" in form.errors


def test_a_validation_file_and_a_share_must_be_given_where_they_are_chosen(project: Project) -> None:
    assert "validation_file" in form_of(project, validation="file").errors
    assert "split_share" in form_of(project, validation="split").errors
    assert "split_share" in form_of(project, validation="split", split_share="80").errors
    assert form_of(project, validation="none", validation_file="").is_valid()


def test_the_fields_for_experts_become_the_recipe_and_come_back(project: Project) -> None:
    asked = {
        "lora_variant": "rslora", "modules_to_save": "norm, lm_head", "quantization": "none", "optimizer": "adamw",
        "lr_scheduler": "cosine_with_min", "min_learning_rate_ratio": "0.2", "neftune_alpha": "5",
        "gradient_checkpointing": "on", "validate_every_steps": "25",
    }  # fmt: skip
    form = form_of(project, **asked)
    assert form.is_valid() and form.recipe, form.errors
    assert form.recipe.modules_to_save == ["norm", "lm_head"]
    assert (form.recipe.lora_variant, form.recipe.neftune_alpha, form.recipe.validate_every_steps) == ("rslora", 5, 25)
    again = form_start.initial_from_recipe(form.recipe)
    assert {name: again[name] for name in asked} == asked
    code = job_as_code.as_code(form, "http://here")[0].text
    assert '"lora": {"variant": "rslora", "modules_to_save": ["norm", "lm_head"]}' in code
    assert '"neftune_alpha": 5.0' in code


def test_four_bit_weights_without_a_gpu_are_refused_on_the_card_with_the_field(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu = DeviceFacts(kind="cpu", name="a CPU", memory_bytes=16 << 30, free_bytes=12 << 30)
    monkeypatch.setattr("training.devices.device_facts", lambda: cpu)
    for field, value in (("quantization", "4bit"), ("optimizer", "adamw_8bit")):
        form = form_of(project, **{field: value})
        assert form.is_valid()
        answer = forecast(form)
        assert "needs an NVIDIA GPU" in answer.fault_of(field)


def test_files_of_another_project_cannot_be_chosen(project: Project) -> None:
    foreign = makers.make_file(Project.objects.create(name="Elsewhere"))
    assert "training_file" in form_of(project, training_file=foreign.pk).errors


def test_the_form_of_a_job_gives_its_recipe_back(project: Project) -> None:
    recipe = Recipe(n_epochs=3, lora_dropout=0.1, target_modules=["q_proj"], weight_decay=0.01, lr_scheduler="cosine")
    job = makers.make_job(project, recipe=recipe)
    form = JobForm(form_start.initial_from_job(job), project=project)
    assert form.is_valid(), form.errors
    assert form.recipe == recipe


def test_the_code_says_only_what_is_not_usual(project: Project) -> None:
    form = form_of(project, n_epochs="3", suffix="it's")
    form.is_valid()
    python, curl = job_as_code.as_code(form, "http://localhost:8000")
    assert '"n_epochs": 3' in python.text and "batch_size" not in python.text
    compile(python.text, "example", "exec")
    assert curl.text.startswith("curl http://localhost:8000/v1/fine_tuning/jobs")


def test_the_code_names_the_fields_that_it_lacks_because_they_are_refused(project: Project) -> None:
    form = form_of(project, n_epochs="900", lora_r="8", suffix="a:b")
    assert not form.is_valid()
    for tab in job_as_code.as_code(form, "http://localhost:8000"):
        said, rest = tab.text.split("\n", 1)
        assert said.startswith("# Left out") and "Epochs" in said and "Suffix" in said and "LoRA rank" not in said
        assert "900" not in rest and "a:b" not in rest and '"r": 8' in rest
    form = form_of(project)
    assert form.is_valid() and "Left out" not in job_as_code.as_code(form, "http://localhost:8000")[0].text


def test_differences_name_only_what_differs(project: Project) -> None:
    same = {"seed": 1, "training_file": makers.make_file(project)}
    parent = makers.make_job(project, recipe=Recipe(n_epochs=2), **same)
    child = makers.make_job(project, recipe=Recipe(n_epochs=4), validation_file=makers.make_file(project, "v"), **same)
    changed = {line.field: line.values for line in differences.between(parent, child)}
    assert changed["n_epochs"] == ["2", "4"]
    assert set(changed) == {"n_epochs", "validation_file"}


def test_a_rerun_gets_the_next_free_number(project: Project) -> None:
    job = makers.make_job(project, label="Tickets")
    assert form_start.next_label(job) == "Tickets (2)"
    second = makers.make_job(project, label="Tickets (2)")
    assert form_start.next_label(job) == form_start.next_label(second) == "Tickets (3)"
    assert form_start.next_label(makers.make_job(project)) == ""


def test_the_same_as_code_sends_our_own_options_beside_openais(project: Project) -> None:
    form = form_of(project, n_epochs="2", lora_r="8", weight_decay="0.1")
    assert form.is_valid(), form.errors
    python, curl = job_as_code.as_code(form, "http://localhost:8000")
    assert 'method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2}}}' in python.text
    assert 'extra_body={"lora": {"r": 8}, "training": {"weight_decay": 0.1}}' in python.text
    assert '"lora"' in curl.text and "extra_body" not in curl.text


def test_the_same_as_code_of_a_split_says_that_both_parts_are_files(project: Project) -> None:
    form = form_of(project, validation="split", split_share="20", split_seed="0")
    assert form.is_valid(), form.errors
    python, _ = job_as_code.as_code(form, "http://localhost:8000")
    assert "Split the file first" in python.text and "validation_file=" in python.text


def test_too_few_rows_are_refused_before_anything_starts(project: Project) -> None:
    makers.make_base_model()
    file = makers.make_file(project, rows=7)
    form = form_of(project, training_file=file.pk)
    assert form.is_valid(), form.errors
    found = forecast(form)
    assert "7 rows" in found.fault_of("training_file") and "at least 10" in found.problems[0]
