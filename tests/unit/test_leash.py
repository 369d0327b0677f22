"""Several processes on one leash: they know of each other, hear signals together, and none is left when one breaks."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from training import leash
from training.launcher import Trainer

PLACE = "import os, sys; open(sys.argv[1] + '/' + os.environ['RANK'], 'w').write(os.environ['WORLD_SIZE'])\n"
SLEEP = "import time; time.sleep(60)\n"


def start(code: str, folder: Path, last_words_seconds: int = 10) -> "subprocess.Popen[bytes]":
    """Two processes of `code` on a leash."""
    shorter = f"import sys; from training import leash; leash.LAST_WORDS_SECONDS = {last_words_seconds}\n"
    words = ["--processes", "2", sys.executable, "-S", "-c", PLACE + code, str(folder)]
    command = [sys.executable, "-c", f"{shorter}sys.exit(leash.main())", str(os.getpid()), *words]
    return subprocess.Popen(command, stderr=subprocess.PIPE)


def test_each_process_knows_its_place_and_both_have_to_end_well(tmp_path: Path) -> None:
    with start("", tmp_path) as leashed:
        assert leashed.wait(30) == 0
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"0": "2", "1": "2"}


@pytest.mark.parametrize(
    ("breaks", "code", "words"),
    [
        ("sys.exit(3)", 3, "Process 2 of 2 ended with exit code 3; the others are ended."),
        ("os.kill(os.getpid(), 9)", 137, "Process 2 of 2 was ended by signal 9; the others are ended."),
    ],
)
def test_a_process_that_breaks_ends_the_other_and_is_named(tmp_path: Path, breaks: str, code: int, words: str) -> None:
    with start(f"if os.environ['RANK'] == '1': {breaks}\n{SLEEP}", tmp_path, last_words_seconds=1) as leashed:
        told = leashed.communicate(timeout=30)[1].decode()
        assert (leashed.returncode, told.strip()) == (code, words)


def test_sigterm_reaches_every_process(tmp_path: Path) -> None:
    listens = (
        "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, {15})\n"
        "open(sys.argv[1] + '/r' + os.environ['RANK'], 'w')\nsignal.sigwait({15})\n"
    )
    with start(listens, tmp_path) as leashed:
        while len(list(tmp_path.glob("r*"))) < 2:
            assert leashed.poll() is None
        leashed.terminate()
        assert leashed.wait(30) == 0


def test_the_site_goes_before_what_is_on_the_leash(tmp_path: Path) -> None:
    tells = "open(sys.argv[1] + '/nice' + os.environ['RANK'], 'w').write(str(os.nice(0)))\n"
    with start(tells, tmp_path) as leashed:
        assert leashed.wait(30) == 0
    wanted = str(min(19, os.nice(0) + leash.BEHIND_THE_SITE))  # the kernel knows none above 19
    assert [(tmp_path / f"nice{rank}").read_text() for rank in (0, 1)] == [wanted, wanted]


def test_a_process_alone_is_told_of_no_others() -> None:
    assert leash._places(1) == [{}] and leash._arguments(["7", "sleep", "1"]) == (7, 1, ["sleep", "1"])
    assert leash._arguments(["7", "--processes", "3", "sleep", "1"]) == (7, 3, ["sleep", "1"])


def test_the_last_words_of_another_process_than_the_first_are_the_runs_end(tmp_path: Path) -> None:
    process = psutil.Popen([sys.executable, "-S", "-c", "import sys; sys.exit(137)"])
    trainer = Trainer("ftjob-1", "start", tmp_path, process, processes=2)
    assert trainer.last_words() is None
    (tmp_path / "failed-process-2.json").write_text(
        '{"time": 1, "type": "end", "status": "failed", "code": "out_of_memory", "message": "Process 2 of 2: no room"}'
    )
    told = trainer.last_words()
    assert told and (told.code, told.message) == ("out_of_memory", "Process 2 of 2: no room")
    process.wait(30)
    assert trainer.exit_reason().startswith("one of its 2 processes was killed (signal 9)")
