"""The parity gate's comparisons, on numbers and on files."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from playground import parity
from tests.factories import tiny_model
from tests.made_checkpoint import write_checkpoint
from training.engine.spec import Probe, Probes
from training.engine.weights import weights_sha256


def probes(trained: list[float], base: list[float]) -> Probes:
    probe = Probe(
        token_ids=[1, *range(2, 2 + len(base))], prompt_length=1, trained_logprobs=trained, base_logprobs=base
    )
    return Probes(probes=[probe], chat_messages=[], chat_token_ids=[], weights_sha256="", modules=[])


def verdict(trained: list[float], base: list[float], served: list[float], noise: float = 0.0) -> parity.Verdict:
    return parity.judge(parity.compare(probes(trained, base), [served]), noise)


def test_answers_like_the_trained_weights_are_verified() -> None:
    found = verdict([-1.0, -2.0], [-3.0, -0.5], [-1.03, -1.98])
    assert (found.proof, found.reason) == ("verified", "")


def test_the_base_in_the_adapters_place_is_refused_and_said_so() -> None:
    found = verdict([-1.0, -2.0], [-3.0, -0.5], [-3.0, -0.5])
    assert found.proof == "refused"
    assert "has no effect" in found.reason


def test_a_half_applied_adapter_is_refused_although_it_differs_from_the_base() -> None:
    found = verdict([-1.0, -2.0], [-3.0, -0.5], [-2.0, -1.2])
    assert found.proof == "refused"
    assert "1.000" not in found.reason
    assert "0.900" in found.reason


def test_rounding_may_be_larger_where_training_moved_the_answers_far() -> None:
    assert verdict([-1.0, -2.0], [-9.0, -10.0], [-1.5, -2.5]).proof == "verified", "half a nat of eight"
    assert verdict([-1.0, -2.0], [-9.0, -10.0], [-1.9, -2.9]).proof == "refused"
    assert verdict([-1.0, -2.0], [-41.0, -42.0], [-2.5, -3.5]).proof == "refused", "never more than a nat"


def test_within_the_tolerance_but_nearer_to_the_base_is_refused() -> None:
    found = verdict([-1.00, -2.00], [-1.08, -2.08], [-1.07, -2.08])
    assert found.proof == "refused"
    assert "nearer to the base" in found.reason


def test_training_that_moved_nothing_is_too_close_to_tell() -> None:
    assert verdict([-1.00, -2.00], [-1.01, -2.01], [-1.01, -2.0]).proof == "too_close"


def test_noise_of_the_served_base_widens_what_is_too_close() -> None:
    assert verdict([-1.00, -2.00], [-1.08, -2.08], [-1.01, -2.0], noise=0.01).proof == "verified"
    assert verdict([-1.00, -2.00], [-1.08, -2.08], [-1.01, -2.0], noise=0.05).proof == "too_close"


def test_not_a_number_is_refused() -> None:
    assert verdict([-1.0, -2.0], [-3.0, -0.5], [float("nan"), -2.0]).proof == "refused"


def test_the_figures_are_means_and_maxima_over_all_tokens() -> None:
    found = parity.compare(probes([-1.0, -2.0], [-2.0, -4.0]), [[-1.1, -2.3]])
    assert found.tokens == 2
    assert found.mean_to_trained == pytest.approx(0.2)
    assert found.max_to_trained == pytest.approx(0.3)
    assert found.mean_to_base == pytest.approx(1.3)
    assert found.max_to_base == pytest.approx(1.7)
    assert found.trained_to_base == pytest.approx(1.5)


def test_an_answer_with_too_few_tokens_is_a_fault() -> None:
    with pytest.raises(ValueError):
        parity.compare(probes([-1.0, -2.0], [-2.0, -4.0]), [[-1.1]])


def test_probes_without_tokens_prove_nothing() -> None:
    with pytest.raises(parity.Refused, match="no tokens"):
        parity.compare(probes([], []), [[]])


def test_other_chat_ids_are_refused_with_their_place() -> None:
    parity.check_chat_ids([1, 2, 3], [1, 2, 3])
    with pytest.raises(parity.Refused, match="position 2"):
        parity.check_chat_ids([1, 2, 3], [1, 2, 4])
    with pytest.raises(parity.Refused, match="position 3"):
        parity.check_chat_ids([1, 2, 3], [1, 2, 3, 4])


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("base"))


@pytest.fixture
def folder(tmp_path: Path, base: Path) -> Path:
    return write_checkpoint(tmp_path / "checkpoint", base)


def check(folder: Path, recorded: str = "") -> None:
    parity.check_adapter_files(folder, parity.read_probes(folder), recorded)


def test_the_adapter_that_was_trained_passes(folder: Path) -> None:
    check(folder, weights_sha256(folder))


def test_another_adapter_of_the_same_shape_is_refused(folder: Path, tmp_path: Path, base: Path) -> None:
    other = write_checkpoint(tmp_path / "other", base, seed=1)
    (other / "adapter_model.safetensors").replace(folder / "adapter_model.safetensors")
    with pytest.raises(parity.Refused, match="not the ones that were trained: sha256"):
        check(folder)


def test_another_adapter_with_its_own_probes_is_refused_by_the_recorded_hash(
    folder: Path, tmp_path: Path, base: Path
) -> None:
    other = write_checkpoint(tmp_path / "other", base, seed=1)
    with pytest.raises(parity.Refused, match="sha256"):
        check(other, weights_sha256(folder))


def test_an_empty_adapter_is_refused(folder: Path) -> None:
    save_file({}, folder / "adapter_model.safetensors")
    with pytest.raises(parity.Refused, match="adapter is empty"):
        check(folder)


def test_a_renamed_module_is_refused_by_its_name(folder: Path) -> None:
    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    save_file({name.replace("q_proj", "query"): tensor for name, tensor in tensors.items()}, path)
    with pytest.raises(parity.Refused, match=r"1 missing \(such as model.layers.0.self_attn.q_proj\)"):
        check(folder)


def test_a_prefix_before_every_module_is_refused(folder: Path) -> None:
    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    save_file({name.replace("model.layers", "language_model.layers"): t for name, t in tensors.items()}, path)
    with pytest.raises(parity.Refused, match="2 missing"):
        check(folder)


def test_a_missing_module_is_refused(folder: Path) -> None:
    path = folder / "adapter_model.safetensors"
    save_file({name: tensor for name, tensor in load_file(path).items() if "up_proj" not in name}, path)
    with pytest.raises(parity.Refused, match="1 missing"):
        check(folder)


@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 200, b"\x10\x00\x00\x00\x00\x00\x00\x00not json at all!"])
def test_a_file_that_is_no_safetensors_is_refused(folder: Path, content: bytes) -> None:
    (folder / "adapter_model.safetensors").write_bytes(content)
    with pytest.raises(parity.Refused, match="not a safetensors file"):
        check(folder)


def test_missing_weights_and_missing_probes_are_refused(folder: Path) -> None:
    found = parity.read_probes(folder)
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(parity.Refused, match="is missing"):
        parity.check_adapter_files(folder, found, "")
    (folder / "probes.json").unlink()
    with pytest.raises(parity.Refused, match="is missing"):
        parity.read_probes(folder)


def test_probes_of_another_shape_are_refused(folder: Path) -> None:
    (folder / "probes.json").write_text(json.dumps({"probes": 3}))
    with pytest.raises(parity.Refused, match="cannot be read"):
        parity.read_probes(folder)


def test_a_trained_module_that_serving_leaves_out_is_refused() -> None:
    modules = ["base_model.model.model.layers.0.self_attn.q_proj", "base_model.model.lm_head"]
    parity.check_modules_apply(modules, ())
    parity.check_modules_apply(modules, ("q_proj", "lm_head"))
    with pytest.raises(parity.Refused, match=r"1 of its 2 trained modules \(such as lm_head\)"):
        parity.check_modules_apply(modules, ("q_proj",))


def test_full_weights_are_known_by_their_hash_over_all_files(tmp_path: Path) -> None:
    folder = tmp_path / "full"
    folder.mkdir()
    for name in ("model-1.safetensors", "model-2.safetensors"):
        save_file({"w": np.ones(2, np.float32)}, folder / name)
    found = probes([-1.0], [-2.0])
    found.weights_sha256 = weights_sha256(folder)
    parity.check_full_files(folder, found, found.weights_sha256)
    save_file({"w": np.zeros(2, np.float32)}, folder / "model-2.safetensors")
    with pytest.raises(parity.Refused, match="sha256"):
        parity.check_full_files(folder, found, "")
