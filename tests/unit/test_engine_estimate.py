"""Facts of a model folder, auto values, refusals and estimates, against hand-computed numbers."""

import json
from pathlib import Path

import pytest

from tests.factories import tiny_model
from training.engine import estimate as e
from training.engine.errors import EngineError, InvalidRecipe, InvalidTrainingFile, ModelProblem
from training.engine.facts import StartFacts, read_model_facts
from training.engine.resolve import auto_batch_size, auto_epochs, resolve
from training.engine.spec import DataFacts, DeviceFacts, ModelFacts, Recipe

MODEL = ModelFacts(
    name="small",
    parameters=135_000_000,
    hidden_size=576,
    intermediate_size=1536,
    layers=30,
    vocabulary=49_152,
    heads=9,
    kv_heads=3,
    context_length=8192,
    linear_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
)
CPU = DeviceFacts(kind="cpu", name="a CPU", memory_bytes=16 << 30, free_bytes=12 << 30)


def facts(rows: int = 120, length: int = 100) -> DataFacts:
    return DataFacts(
        rows=rows, tokens=rows * length, trained_tokens=rows * 40, longest_tokens=length, lengths=[length] * rows
    )


def test_facts_are_read_from_config_and_headers(tmp_path: Path) -> None:
    found = read_model_facts(tiny_model(tmp_path / "m"), "tiny")
    assert (found.hidden_size, found.layers, found.heads, found.kv_heads, found.context_length) == (128, 2, 2, 1, 8192)
    assert found.parameters == 355_712
    assert set(found.linear_modules) == set(MODEL.linear_modules)
    assert found.has_chat_template
    assert not read_model_facts(tiny_model(tmp_path / "b", chat_template=False), "base").has_chat_template


def test_a_folder_that_is_gone_damaged_or_quantised_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelProblem, match=r"no config\.json"):
        read_model_facts(tmp_path, "gone")
    damaged = tiny_model(tmp_path / "d")
    (damaged / "model.safetensors").write_bytes(b"\xff" * 100)
    with pytest.raises(ModelProblem, match="not a whole safetensors file"):
        read_model_facts(damaged, "damaged")
    config = json.loads((damaged / "config.json").read_text()) | {"quantization_config": {"bits": 4}}
    (damaged / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelProblem, match="quantised"):
        read_model_facts(damaged, "quantised")


def test_a_length_that_cuts_every_answer_away_is_refused_with_the_least_that_does_not() -> None:
    known = facts().model_copy(update={"least_length": 52})
    with pytest.raises(InvalidRecipe, match=r"earliest begins with token 52\. Choose at least 52") as refused:
        resolve(Recipe(max_length=51), known, MODEL, CPU)
    assert refused.value.param == "max_length"
    for asked, data in ((52, known), ("auto", known), (16, facts())):
        assert resolve(Recipe(max_length=asked), data, MODEL, CPU).max_length >= 16


def test_rows_whose_answers_all_begin_beyond_the_context_are_refused_whatever_length_is_asked() -> None:
    long = DataFacts(rows=120, tokens=10**6, trained_tokens=999, longest_tokens=9000, least_length=8193)
    fits = long.model_copy(update={"least_length": 8192})
    assert resolve(Recipe(), fits, MODEL, CPU).max_length == 8192
    for asked in ("auto", 8192):
        with pytest.raises(InvalidTrainingFile, match=r"begins with token 8,193, and small reads 8,192") as refused:
            resolve(Recipe(max_length=asked), long, MODEL, CPU)
        assert refused.value.param == "training_file"
        with pytest.raises(InvalidTrainingFile, match=r"answer of the validation file") as refused:
            resolve(Recipe(max_length=asked), fits, MODEL, CPU, valid=long)
        assert refused.value.param == "validation_file"
    with pytest.raises(InvalidRecipe, match="of the validation file away"):
        resolve(Recipe(max_length=64), facts(), MODEL, CPU, valid=facts().model_copy(update={"least_length": 65}))
    assert resolve(Recipe(method="pretrain"), long, MODEL, CPU).max_length, "a document goes on in the next block"


def test_no_reason_says_its_value_again() -> None:
    """The form writes `auto is VALUE: REASON`."""
    for rows in (5, 100, 9000):
        for method in ("sft", "dpo", "pretrain"):
            found = resolve(Recipe(method=method), facts(rows=rows), MODEL, CPU)
            for field, reason in found.reasons.items():
                words = reason.replace(":", " ").replace(",", " ").split()
                assert words[0] != f"{getattr(found, field)}", (field, reason)


@pytest.mark.parametrize(
    ("rows", "epochs"),
    [(1, 25), (4, 25), (10, 10), (11, 9), (20, 5), (25, 4), (26, 3), (100, 3), (8333, 3), (8334, 2), (12_501, 1)],
)
def test_auto_epochs_follow_the_published_rule(rows: int, epochs: int) -> None:
    assert auto_epochs(rows) == epochs


@pytest.mark.parametrize(("rows", "batch"), [(1, 1), (10, 1), (50, 2), (100, 4), (2000, 4), (3000, 6), (10**6, 256)])
def test_auto_batch_is_a_share_of_the_rows_with_a_floor_of_ours(rows: int, batch: int) -> None:
    assert auto_batch_size(rows) == batch


def test_every_auto_becomes_a_number_with_a_reason() -> None:
    resolved = resolve(Recipe(), facts(), MODEL, CPU)
    assert (resolved.n_epochs, resolved.batch_size, resolved.learning_rate) == (3, 4, 5e-4)
    assert (resolved.lora_r, resolved.lora_alpha, resolved.max_length, resolved.dtype) == (16, 32, 128, "bfloat16")
    assert resolved.target_modules == MODEL.linear_modules
    autos = {name for name, value in Recipe() if value == "auto"} - {"beta"}  # which is of DPO
    assert set(resolved.reasons) == autos
    assert all(reason.endswith(".") for reason in resolved.reasons.values())
    assert "auto" not in resolved.model_dump(exclude={"reasons"}).values()


def test_given_values_are_kept_and_need_no_reason() -> None:
    recipe = Recipe(n_epochs=2, batch_size=8, learning_rate_multiplier=2, lora_r=8, dtype="float32", adaptation="lora")
    resolved = resolve(recipe, facts(), MODEL, CPU)
    assert (resolved.n_epochs, resolved.batch_size, resolved.lora_r, resolved.lora_alpha) == (2, 8, 8, 16)
    assert resolved.learning_rate == pytest.approx(1e-3)
    assert "n_epochs" not in resolved.reasons and "lora_alpha" in resolved.reasons


def test_full_weights_take_a_tenth_of_the_rate_and_no_adapter() -> None:
    resolved = resolve(Recipe(adaptation="full"), facts(), MODEL, CPU)
    assert resolved.learning_rate == pytest.approx(5e-5)
    assert (resolved.lora_r, resolved.lora_alpha, resolved.target_modules) == (None, None, [])


def test_max_length_follows_the_longest_row_of_both_files_within_the_context() -> None:
    assert resolve(Recipe(), facts(length=100), MODEL, CPU, valid=facts(length=300)).max_length == 320
    long = resolve(Recipe(), facts(length=9000), MODEL, CPU)
    assert long.max_length == 8192 and "cut" in long.reasons["max_length"]


@pytest.mark.parametrize(
    ("recipe", "param"),
    [
        (Recipe(max_length=9000), "max_length"),
        (Recipe(target_modules=["q_proj", "nonsense"]), "target_modules"),
        (Recipe(target_modules=[]), "target_modules"),
        (Recipe(adaptation="full", lora_r=8), "lora_r"),
    ],
)
def test_impossible_pairs_are_refused_by_field(recipe: Recipe, param: str) -> None:
    with pytest.raises(InvalidRecipe) as refused:
        resolve(recipe, facts(), MODEL, CPU)
    assert refused.value.param == param


def test_chat_rows_on_a_model_without_template_are_refused() -> None:
    plain = MODEL.model_copy(update={"has_chat_template": False})
    with pytest.raises(InvalidTrainingFile, match="no chat template"):
        resolve(Recipe(), facts(), plain, CPU, data_format="chat")
    assert resolve(Recipe(), facts(), plain, CPU, data_format="completion")


def test_a_file_with_nothing_to_train_on_is_refused() -> None:
    for rows, trained in ((0, 0), (5, 0)):
        data = DataFacts(rows=rows, tokens=rows * 10, trained_tokens=trained, longest_tokens=10)
        with pytest.raises(InvalidTrainingFile) as refused:
            resolve(Recipe(), data, MODEL, CPU)
        assert (refused.value.code, refused.value.param) == ("invalid_training_file", "training_file")


def test_continuing_takes_the_adapters_shape() -> None:
    start = StartFacts("lora", 8, 64, ("k_proj", "q_proj"))
    resolved = resolve(Recipe(), facts(), MODEL, CPU, start=start)
    assert (resolved.lora_r, resolved.lora_alpha, resolved.target_modules) == (8, 64, ["k_proj", "q_proj"])
    assert resolve(Recipe(adaptation="full"), facts(), MODEL, CPU, start=start).adaptation == "full"
    assert "own adapter" in resolved.reasons["adaptation"]
    assert (
        e.estimate(resolved, facts(), MODEL, CPU, start=start).warnings
        == e.estimate(resolved, facts(), MODEL, CPU).warnings
    )


def test_continuing_with_another_shape_learns_beside_the_adapter_and_says_so() -> None:
    start = StartFacts("lora", 8, 64, ("k_proj", "q_proj"))
    resolved = resolve(Recipe(lora_r=4), facts(), MODEL, CPU, start=start)
    assert (resolved.lora_r, resolved.lora_alpha, resolved.target_modules) == (4, 8, MODEL.linear_modules)
    assert "one adapter of rank 12" in resolved.reasons["adaptation"]
    beside, alone = (e.estimate(resolved, facts(), MODEL, CPU, start=given) for given in (start, None))
    assert any("rank 12" in warning for warning in beside.warnings)
    assert beside.disk_bytes > alone.disk_bytes


def test_an_adapter_too_large_to_serve_together_with_the_checkpoints_is_refused() -> None:
    with pytest.raises(InvalidRecipe, match="rank 600, and vLLM serves at most 512") as refused:
        resolve(Recipe(lora_r=200), facts(), MODEL, CPU, start=StartFacts("lora", 400, 400, ("q_proj",)))
    assert refused.value.param == "lora_r"


def test_an_adapter_on_full_weights_becomes_full_weights_and_says_so() -> None:
    start = StartFacts("full")
    resolved = resolve(Recipe(), facts(), MODEL, CPU, start=start)
    assert resolved.lora_r == 16 and "merged when saved" in resolved.reasons["adaptation"]
    estimate = e.estimate(resolved, facts(), MODEL, CPU, start=start)
    assert any("merged when saved" in warning for warning in estimate.warnings)
    assert estimate.disk_bytes > resolved.n_epochs * MODEL.parameters * 2


def test_an_estimate_counts_steps_and_tokens_exactly() -> None:
    data = DataFacts(rows=5, tokens=1500, trained_tokens=500, longest_tokens=500, lengths=[100, 200, 300, 400, 500])
    recipe = Recipe(n_epochs=2, batch_size=2, max_length=300)
    found = e.estimate(resolve(recipe, data, MODEL, CPU), data, MODEL, CPU)
    assert (found.steps_per_epoch, found.steps, found.tokens, found.truncated_rows) == (3, 6, 2400, 2)
    assert found.trained_tokens == round(500 * 2 * 1200 / 1500)
    assert found.fits and found.seconds > 0 and found.memory_bytes > 270_000_000
    assert any("cut" in warning for warning in found.warnings)


def test_a_model_that_does_not_fit_is_told() -> None:
    small = CPU.model_copy(update={"free_bytes": 1 << 30})
    found = e.estimate(resolve(Recipe(adaptation="full"), facts(), MODEL, small), facts(), MODEL, small)
    assert not found.fits and "LoRA" in found.warnings[0]


def test_trainable_parameters_are_those_of_peft() -> None:
    """r x (in + out) of each of Llama's seven matrices, 30 layers: 4,884,480 at rank 16, as peft counts it."""
    assert e.trainable_parameters(resolve(Recipe(), facts(), MODEL, CPU), MODEL) == 4_884_480


def test_long_rows_make_activations_be_computed_again_when_memory_is_short() -> None:
    roomy = e.plan_memory(MODEL, 5_000_000, "bfloat16", 4096, 4, CPU)
    tight = e.plan_memory(MODEL, 5_000_000, "bfloat16", 4096, 4, CPU.model_copy(update={"free_bytes": 3 << 30}))
    assert not roomy.checkpoint_activations and tight.checkpoint_activations
    assert tight.peak_bytes < roomy.peak_bytes
    assert roomy.micro_batch_tokens >= 4096


def test_errors_have_one_root_and_openais_words() -> None:
    assert all(issubclass(kind, EngineError) for kind in (InvalidRecipe, InvalidTrainingFile, ModelProblem))
    assert InvalidTrainingFile("x").param == "training_file"
    assert InvalidTrainingFile("x", param="validation_file").param == "validation_file"
