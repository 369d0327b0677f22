"""The console script against a real server, as somebody types it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.api.conftest import ROOT, Server, jsonl
from tests.factories import chat_rows


@pytest.fixture
def hone(server: Server) -> Any:
    """Runs `hone ...`; returns the finished process."""

    def run(*words: str, key: str = "", stdout: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
        env = os.environ | {"HONE_URL": server.url, "HONE_API_KEY": key or server.key}
        command = [sys.executable, "-m", "terminal.main", *words]
        pipes = {"stdout": stdout, "stderr": subprocess.PIPE}
        where = {"cwd": ROOT, "env": env, "stdin": subprocess.DEVNULL}
        return subprocess.run(command, **where, **pipes, text=True, timeout=120, check=False)

    return run


def test_a_dataset_is_uploaded_and_a_job_is_made_listed_paused_and_cancelled(hone: Any, tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_bytes(jsonl(chat_rows(12)))
    uploaded = hone("upload", str(path))
    assert uploaded.returncode == 0 and "mine.jsonl" in uploaded.stdout and "12 rows  processed" in uploaded.stdout
    file_id = uploaded.stdout.split()[0]
    made = hone("train", file_id, "--model", "tiny", "--epochs", "9", "--seed", "7", "--suffix", "cli", "--json")
    job = json.loads(made.stdout)
    assert (job["training_file"], job["seed"], job["hyperparameters"]["n_epochs"]) == (file_id, 7, 9)
    assert f"{job['id']}  " in hone("jobs").stdout
    assert json.loads(hone("jobs", "--limit", "1", "--json").stdout)["id"] == job["id"]
    assert hone("pause", job["id"]).returncode == 0
    assert "cancelled" in hone("cancel", job["id"]).stdout
    watched = hone("watch", job["id"])
    assert watched.returncode == 1 and f"{job['id']} cancelled" in watched.stderr
    again = hone("cancel", job["id"])
    assert again.returncode == 1 and "has already been cancelled" in again.stderr


def test_models_are_listed_and_a_folder_is_no_dataset(hone: Any, tmp_path: Path) -> None:
    listed = hone("models", "TIN")
    assert listed.returncode == 0 and listed.stdout.startswith("tiny ") and "base model" in listed.stdout
    assert json.loads(hone("models", "tiny", "--json").stdout.splitlines()[0])["id"] == "tiny"
    nobody = hone("models", "nobody")
    assert nobody.returncode == 1 and "No model is called “nobody”" in nobody.stdout
    folder = hone("upload", str(tmp_path))
    assert (folder.returncode, folder.stderr) == (2, f"hone: {tmp_path} is a folder. Give a JSONL file.\n")


def test_a_file_that_was_uploaded_for_a_job_that_is_refused_is_deleted_again(
    hone: Any, server: Server, training_file: str, tmp_path: Path
) -> None:
    path = tmp_path / "refused.jsonl"
    path.write_bytes(jsonl(chat_rows(12)))
    for words in (["--model", "nobody"], ["--model", "tiny", "--epochs", "-1", "--validation", str(path)]):
        refused = hone("train", str(path), *words)
        assert refused.returncode == 1 and len(refused.stderr.splitlines()) == 1, refused.stderr
    assert hone("train", str(path), "--model", "tiny", "--validation", "nowhere.jsonl").returncode == 2
    assert hone("train", training_file, "--model", "nobody").returncode == 1
    files = server.client().files.list(limit=100).data
    assert "refused.jsonl" not in {file.filename for file in files}
    assert training_file in {file.id for file in files}, "what was there before stays"


@pytest.mark.parametrize("words", [["jobs"], ["watch"]])
def test_it_ends_silently_when_nobody_reads_on(hone: Any, finished: Any, words: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    ended = hone(*words, *([finished.id] if words == ["watch"] else []), stdout=writer)
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (141, "")


def test_watch_tells_each_step_where_there_is_no_terminal(hone: Any, finished: Any) -> None:
    watched = hone("watch", finished.id)
    assert watched.returncode == 0 and "\x1b" not in watched.stdout
    assert "step 1: training loss" in watched.stdout and "validation loss" in watched.stdout
    assert watched.stdout.rstrip().endswith(f"{finished.id} succeeded: {finished.fine_tuned_model}")
    lines = watched.stdout.splitlines()
    assert next(n for n, line in enumerate(lines) if "step 1:" in line) < next(
        n for n, line in enumerate(lines) if "step 6:" in line
    )


def test_a_wrong_key_and_an_unknown_model_are_told_in_the_servers_words(hone: Any) -> None:
    refused = hone("jobs", key="sk-hone-wrong-wrong-wrong")
    assert refused.returncode == 1 and "Incorrect API key provided" in refused.stderr
    assert "does not exist" in hone("compare", "nobody", "--prompt", "Hello").stdout
    nobody = hone("chat", "nobody")
    assert nobody.returncode == 1 and "does not exist" in nobody.stderr, "before a word is said"
    assert hone("chat", "tiny").returncode == 0
