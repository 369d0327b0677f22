"""The console script's drawings and its words where something is missing."""

import math
import time
from importlib.metadata import version
from types import SimpleNamespace

import pytest

from terminal import curve, waiting, watch
from terminal.columns import beside
from terminal.main import main


def test_a_falling_loss_is_drawn_from_the_upper_left_to_the_lower_right() -> None:
    lines = curve.draw([(step, 4.0 - step / 50) for step in range(1, 101)], [(100, 2.0)], width=60, height=8)
    assert len(lines) == 9 and all(len(line) <= 60 for line in lines)
    assert lines[0].lstrip().startswith("3.98 │")
    drawn = [line.split("│")[1] for line in lines[:-1]]
    assert len(drawn[0].rstrip()) < 15 and len(drawn[-1].rstrip()) > 40, "high at the left, low at the right"
    assert curve.VALIDATION in drawn[-1] and "step 1 to 100" in lines[-1]


def test_nothing_to_draw_one_point_and_what_is_no_number() -> None:
    assert curve.draw([], [], 60, 8) == [] and curve.draw([(1, 1.0)], [], 10, 8) == []
    assert len(curve.draw([(1, 2.5)], [], 60, 4)) == 5
    assert len(curve.draw([(1, 2.5), (2, math.nan), (3, 2.0)], [], 60, 4)) == 5


def test_a_hundred_thousand_steps_are_thinned() -> None:
    noisy = [(step, 3 + (step % 7) / 10) for step in range(100_000)]
    drawn = "".join(curve.draw(noisy, [], 80, 10))
    assert 0 < sum(0x2800 < ord(letter) < 0x2900 for letter in drawn) < 200


def test_answers_stand_beside_each_other_where_there_is_room_and_below_where_there_is_none() -> None:
    wide = beside(["a", "b"], ["one two " * 20, "short"], 80)
    assert all(len(line) <= 80 for line in wide) and "short" in wide[2] and wide[2].startswith("one two")
    narrow = beside(["a", "b" * 90], ["one", "short"], 40)
    assert narrow.index("one") < narrow.index("short") and all(len(line) <= 40 for line in narrow)


def test_the_picture_of_a_running_job_fits_the_terminal() -> None:
    job = SimpleNamespace(
        id="ftjob-x",
        model="tiny",
        status="running",
        estimated_finish=time.time() + 134,
        model_extra={"hone": {"step": 30, "total_steps": 120, "status_text": "Training"}},
    )
    seen = watch.Seen(training={step: 3 - step / 60 for step in range(1, 31)}, lines=["12:00:00  " + "long " * 50] * 9)
    lines = watch.picture(job, seen, 70, 24)
    assert len(lines) < 24 and all(len(line) < 70 for line in lines)
    assert "25%  step 30 of 120  about 2 min 1" in lines[1] and "training loss 2.5" in lines[2]


@pytest.mark.parametrize("width", [70, 100, 101, 200])
def test_the_point_of_the_last_step_is_drawn(width: int) -> None:
    job = SimpleNamespace(id="ftjob-x", model="tiny", status="succeeded", estimated_finish=None, model_extra={})
    lines = watch.picture(job, watch.Seen(training={1: 3.0, 2: 2.5, 3: 2.0}), width, 24)
    lowest = next(line for line in lines if line.lstrip().startswith("2 │"))
    assert 0x2800 < ord(lowest[-1]) < 0x2900 and len(lowest) == min(width - 1, 100)


def test_an_event_whose_figures_changed_is_told_again_and_another_is_not() -> None:
    event = SimpleNamespace(id="1", type="metrics", created_at=0, message="", data={"step": 3, "train_loss": 2.0})
    seen = watch.Seen()
    assert "step 3: training loss 2" in seen.take(event) and seen.take(event) == ""
    event.data = event.data | {"valid_loss": 2.5, "full_valid_loss": 2.25}
    assert "validation loss 2.25" in seen.take(event) and seen.validation == {3: 2.25}


def test_it_tells_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0 and capsys.readouterr().out == f"hone {version('hone')}\n"


@pytest.mark.parametrize("missing", ["HONE_URL", "HONE_API_KEY"])
def test_without_an_address_or_a_key_it_says_which_is_missing(
    missing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("HONE_URL", "HONE_API_KEY", "OPENAI_BASE_URL", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv({"HONE_URL": "HONE_API_KEY", "HONE_API_KEY": "HONE_URL"}[missing], "http://127.0.0.1:1")
    with pytest.raises(SystemExit) as ended:
        main(["jobs"])
    assert ended.value.code == 2 and missing in capsys.readouterr().err


def test_an_address_without_a_scheme_is_wrong_use(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HONE_URL", "127.0.0.1:8712")
    monkeypatch.setenv("HONE_API_KEY", "sk-hone-x")
    with pytest.raises(SystemExit) as ended:
        main(["jobs"])
    assert ended.value.code == 2 and "must begin with http://" in capsys.readouterr().err


def test_a_server_that_is_not_there_and_wrong_use_have_codes_of_their_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("openai.DEFAULT_MAX_RETRIES", 0)
    monkeypatch.setenv("HONE_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("HONE_API_KEY", "sk-hone-x")
    with pytest.raises(SystemExit) as ended:
        main(["jobs"])
    assert ended.value.code == 3 and "does not answer" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        main(["dance"])
    assert ended.value.code == 2
    with pytest.raises(SystemExit) as ended:
        main(["upload", "nowhere.jsonl"])
    assert ended.value.code == 2 and capsys.readouterr().err.endswith("\nhone: There is no file nowhere.jsonl.\n")


@pytest.mark.parametrize("terminal", [True, False])
def test_a_model_that_keeps_silent_is_said_once_on_a_terminal_and_wiped(
    terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(waiting, "QUIET_SECONDS", 0.0)
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal)
    silent = waiting.Waiting("tiny")
    if terminal:
        silent.timer.join()
    silent.over()
    silent.over()
    assert capsys.readouterr().err == ("Waiting for tiny; it may have to be loaded first\r\x1b[2K" if terminal else "")


def test_a_model_that_answers_at_once_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(waiting, "QUIET_SECONDS", 3600.0)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    waiting.Waiting("tiny").over()
    assert capsys.readouterr().err == ""
