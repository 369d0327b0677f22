"""Taking checkpoints away: the tar, its parts, the model card, and asking for merged weights from page and API."""

import io
import json
import tarfile
from pathlib import Path

import pytest
from django.http import HttpResponseBase
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import Project
from tests import makers
from training import exports, starter
from training.models import Checkpoint, DatasetFile, Export

WEIGHTS = bytes(range(256)) * 50
REPORT = {
    "mean_to_adapter": 0.0002, "max_to_adapter": 0.001, "adapter_to_base": 0.5, "tokens": 80,
    "size_bytes": 12_800, "dtype": "bfloat16", "sha256": "e" * 64,
}  # fmt: skip


@pytest.fixture
def checkpoint(project: Project) -> Checkpoint:
    file = makers.make_file(project)
    DatasetFile.objects.filter(pk=file.pk).update(sha256="d" * 64)
    job = makers.make_job(project, steps=40, status="succeeded", suffix="orders", training_file=file)
    found = job.checkpoints.order_by("step").first()
    assert found
    (found.path / "trainer_state").mkdir(parents=True)
    (found.path / "trainer_state" / "state.safetensors").write_bytes(b"state")
    (found.path / "adapter_model.safetensors").write_bytes(WEIGHTS)
    (found.path / "adapter_config.json").write_text('{"base_model_name_or_path": "/secret/place", "r": 8}')
    for name in ("meta.json", "probes.json"):
        (found.path / name).write_text('{"training_file": "/secret/place"}')
    return found


def content(response: HttpResponseBase) -> bytes:
    return b"".join(response)  # type: ignore[arg-type]


def tar_of(checkpoint: Checkpoint) -> str:
    return reverse("checkpoint-tar", args=[checkpoint.job_id, checkpoint.pk])


# the test client reads a stream without an event loop; daphne does not
pytestmark = pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume asynchronous iterators")


@pytest.mark.parametrize(
    ("shows", "said"),
    [
        ("", ["The one in this folder does", "--tool-call-parser hermes"]),
        (
            "{% if tools %}{{ tools | tojson }}{% endif %}",
            # the tools alone are not enough, calls and results are lost; and it would show them twice
            ["does not show them", "At the end of the system message"],
        ),
    ],
)
def test_the_card_of_a_model_that_calls_functions_says_how_it_is_given_them(
    owner_client: Client, checkpoint: Checkpoint, shows: str, said: list[str]
) -> None:
    template = shows + "{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}"
    folder = Path(checkpoint.base_model.folder)
    for place in (folder, checkpoint.path):
        (place / "chat_template.jinja").write_text(template)
    (checkpoint.path / "tokenizer_config.json").write_text('{"model_max_length": 64}')
    try:
        assert handed_out(owner_client, checkpoint) == (template, None)
        assert "Function calling" not in card_of(owner_client, checkpoint)
        DatasetFile.objects.update(statistics={"rows_with_tools": 3})
        card = card_of(owner_client, checkpoint)
        assert all(words in card for words in said)
        found, in_configuration = handed_out(owner_client, checkpoint)
        if "in this folder" in said[0]:
            assert found.endswith(template) and "<tool_response>" in found and in_configuration == found
        else:
            assert (found, in_configuration) == (template, None)
    finally:
        (folder / "chat_template.jinja").unlink()


def handed_out(client: Client, checkpoint: Checkpoint) -> tuple[str, str | None]:
    """The chat template of a download, and the one in its tokenizer's configuration."""
    with tarfile.open(fileobj=io.BytesIO(content(client.get(tar_of(checkpoint))))) as tar:
        inside = {member.name.rpartition("/")[2]: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    return inside["chat_template.jinja"].decode(), json.loads(inside["tokenizer_config.json"]).get("chat_template")


def card_of(client: Client, checkpoint: Checkpoint) -> str:
    body = content(client.get(tar_of(checkpoint)))
    with tarfile.open(fileobj=io.BytesIO(body)) as tar:
        name = next(name for name in tar.getnames() if name.endswith("README.md"))
        return tar.extractfile(name).read().decode()  # type: ignore[union-attr]


@pytest.mark.parametrize(("rank", "room"), [(8, 8), (12, 16), (64, 64)])
def test_the_card_serves_with_room_for_the_rank_of_this_adapter(
    owner_client: Client, checkpoint: Checkpoint, rank: int, room: int
) -> None:
    (checkpoint.path / "adapter_config.json").write_text(json.dumps({"r": rank}))
    assert f"--max-lora-rank {room} " in card_of(owner_client, checkpoint)


def test_a_download_holds_weights_and_a_card_and_nothing_of_this_server(
    owner_client: Client, checkpoint: Checkpoint
) -> None:
    response = owner_client.get(tar_of(checkpoint))
    name = f"orders-epoch-{checkpoint.epoch}-step-{checkpoint.step}-adapter"
    assert response["Content-Disposition"] == f'attachment; filename="{name}.tar"'
    body = content(response)
    assert len(body) == int(response["Content-Length"])
    assert b"/secret/place" not in body
    with tarfile.open(fileobj=io.BytesIO(body)) as tar:
        inside = {member.name.removeprefix(f"{name}/"): tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    assert set(inside) == {"README.md", "adapter_config.json", "adapter_model.safetensors"}
    assert inside["adapter_model.safetensors"] == WEIGHTS
    assert json.loads(inside["adapter_config.json"]) == {"base_model_name_or_path": "tiny", "r": 8}
    card = inside["README.md"].decode()
    for words in (
        checkpoint.name,
        checkpoint.job_id,
        "d" * 64,
        '"learning_rate": 0.0003',
        f"{checkpoint.full_valid_loss:.4f}",
    ):
        assert words in card


@pytest.mark.parametrize(
    ("columns", "name"),
    [
        ({"source": "hub", "source_id": "org/model-1B"}, "org/model-1B"),
        ({"source": "package", "source_id": starter.STARTER_PACKAGE}, "HuggingFaceTB/SmolLM2-135M-Instruct"),
        ({"source": "folder", "folder": "/cache/models--org--a--b/snapshots/8f3c"}, "org/a--b"),
        ({"source": "folder", "folder": "/models/mine"}, "tiny"),
        ({"source": "scratch", "source_id": "s"}, "tiny"),
    ],
)
def test_an_adapter_names_its_base_as_plain_peft_finds_it(
    owner_client: Client, checkpoint: Checkpoint, columns: dict[str, str], name: str
) -> None:
    type(checkpoint.base_model).objects.update(**columns)
    with tarfile.open(fileobj=io.BytesIO(content(owner_client.get(tar_of(checkpoint))))) as tar:
        config = next(member for member in tar if member.name.endswith("adapter_config.json"))
        assert json.loads(tar.extractfile(config).read())["base_model_name_or_path"] == name  # type: ignore[union-attr]
    card = card_of(owner_client, checkpoint)
    assert f'AutoModelForCausalLM.from_pretrained("{name}")' in card
    assert ("other weights than the published ones" in card) is (columns["source"] == "package")


def test_the_card_follows_a_chain_of_jobs_down_to_the_base(
    owner_client: Client, project: Project, checkpoint: Checkpoint
) -> None:
    later = makers.make_job(project, steps=40, status="succeeded", start_checkpoint=checkpoint, suffix="second")
    second = later.checkpoints.order_by("step").first()
    assert second
    second.path.mkdir(parents=True)
    card = content(owner_client.get(tar_of(second))).decode(errors="ignore")
    lineage = card[card.index("## Lineage") :]
    places = [lineage.index(f"### {name}") for name in (second.name, checkpoint.name, "tiny")]
    assert places == sorted(places)


def test_a_broken_download_goes_on_where_it_stopped(owner_client: Client, checkpoint: Checkpoint) -> None:
    def part(asked: str, **headers: str) -> HttpResponseBase:
        return owner_client.get(tar_of(checkpoint), headers={"Range": asked} | headers)

    first = owner_client.get(tar_of(checkpoint))
    whole, etag = content(first), first["ETag"]
    assert first["Accept-Ranges"] == "bytes"
    for cut in (1, 511, 512, 1300, len(whole) - 1):
        rest = part(f"bytes={cut}-", **{"If-Range": etag})
        assert (rest.status_code, rest["Content-Range"]) == (206, f"bytes {cut}-{len(whole) - 1}/{len(whole)}")
        assert content(rest) == whole[cut:]
        assert content(part(f"bytes={cut - 1}-{cut}")) == whole[cut - 1 : cut + 1]
    assert content(part("bytes=-100")) == whole[-100:]
    beyond = part(f"bytes={len(whole)}-")
    assert (beyond.status_code, beyond["Content-Range"]) == (416, f"bytes */{len(whole)}")
    (checkpoint.path / "adapter_model.safetensors").write_bytes(WEIGHTS[::-1])
    changed = part("bytes=100-", **{"If-Range": etag})
    assert changed.status_code == 200, "another file now: from the beginning"
    assert content(changed) != whole


def test_only_the_project_may_take_its_checkpoints(
    owner_client: Client, stranger_client: Client, checkpoint: Checkpoint
) -> None:
    addresses = [reverse(name, args=[checkpoint.job_id, checkpoint.pk]) for name in ("checkpoint-tar", "merged-tar")]
    Export.objects.create(project=checkpoint.project, checkpoint=checkpoint)
    assert [stranger_client.get(address).status_code for address in addresses] == [404, 404]
    asked = stranger_client.post(reverse("merge-checkpoint", args=[checkpoint.job_id, checkpoint.pk]))
    assert asked.status_code == 404
    assert owner_client.get(addresses[1]).status_code == 404, "not made yet"


# ---- merged weights ----


def test_merging_is_asked_for_on_the_page_which_says_how_far_it_is(
    owner_client: Client, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.models.BaseModel.is_present", True)
    page, ask = reverse("job", args=[checkpoint.job_id]), [checkpoint.job_id, checkpoint.pk]
    assert "Merge into the base" in owner_client.get(page).text
    assert owner_client.post(reverse("merge-checkpoint", args=ask)).status_code == 302
    row = Export.objects.get(checkpoint=checkpoint)
    assert "Merging waits for a worker" in owner_client.get(page).text
    row.status, row.finished_at, row.message = "failed", timezone.now(), "It needs about 40 GB of memory."
    row.save()
    assert "No merged weights: It needs about 40 GB of memory." in owner_client.get(page).text
    row.status, row.message = "succeeded", ""
    row.report_json = REPORT
    row.save()
    folder = exports.folder_of(checkpoint)
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    text = owner_client.get(page).text
    assert "0.0002 nats a token apart" in text
    assert reverse("merged-tar", args=ask) in text
    body = content(owner_client.get(reverse("merged-tar", args=ask)))
    with tarfile.open(fileobj=io.BytesIO(body)) as tar:
        assert [name.rpartition("/")[2] for name in tar.getnames()] == ["README.md", "model.safetensors"]


def test_the_api_asks_for_merged_weights_and_gives_what_is_there(
    api_key: str, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.models.BaseModel.is_present", True)
    client = Client(headers={"Authorization": f"Bearer {api_key}"})
    whole = client.get(f"/v1/checkpoints/{checkpoint.name}/content")
    assert whole.status_code == 200
    assert client.head(f"/v1/checkpoints/{checkpoint.name}/content")["Content-Length"] == whole["Content-Length"]
    asked = client.post("/v1/exports", {"model": checkpoint.name}, content_type="application/json")
    assert (asked.status_code, asked.json()["status"]) == (200, "queued")
    export_id = asked.json()["id"]
    again = client.post("/v1/exports", {"model": checkpoint.name}, content_type="application/json")
    assert again.json()["id"] == export_id
    early = client.get(f"/v1/exports/{export_id}/content")
    assert (early.status_code, early.json()["error"]["code"]) == (409, "export_not_ready")
    Export.objects.update(status="succeeded", finished_at=timezone.now(), report_json=REPORT)
    exports.folder_of(checkpoint).mkdir(parents=True)
    assert client.get(f"/v1/exports/{export_id}").json()["size_bytes"] == 12_800
    assert client.get(f"/v1/exports/{export_id}/content").status_code == 200
    Checkpoint.objects.update(kind="full")
    refused = client.post("/v1/exports", {"model": checkpoint.name}, content_type="application/json")
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "nothing_to_merge")


def test_the_api_knows_no_export_of_another_project(stranger_client: Client, api_key: str, project: Project) -> None:
    elsewhere = Project.objects.exclude(pk=project.pk).get()
    job = makers.make_job(elsewhere, steps=40, status="succeeded")
    export = Export.objects.create(project=elsewhere, checkpoint=job.checkpoints.first())
    client = Client(headers={"Authorization": f"Bearer {api_key}"})
    assert client.get(f"/v1/exports/{export.pk}").status_code == 404
    assert client.get(f"/v1/exports/{export.pk}/content").status_code == 404
    assert client.get(f"/v1/checkpoints/{export.checkpoint.name}/content").status_code == 404
