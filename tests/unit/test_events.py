import json
from pathlib import Path

from training.engine.emit import EventWriter
from training.engine.spec import End, Note, Phase
from training.events import EventReader


def line(message: str) -> bytes:
    return json.dumps({"type": "note", "time": 1.0, "message": message}).encode() + b"\n"


def messages(reader: EventReader) -> list[str]:
    return [event.message for event in reader.read()]


def test_a_folder_without_events_yet_reads_as_nothing(tmp_path: Path):
    assert EventReader(tmp_path / "events.jsonl").read() == []


def test_half_a_line_is_left_until_its_end_is_written(tmp_path: Path):
    path = tmp_path / "events.jsonl"
    reader = EventReader(path)
    whole = line("one") + line("two – with a dash")
    for cut in range(len(whole) + 1):  # every possible place, also in the middle of a character
        path.write_bytes(whole[:cut])
        reader = EventReader(path)
        first = messages(reader)
        assert first == ["one", "two – with a dash"][: whole[:cut].count(b"\n")]
        path.write_bytes(whole)
        assert first + messages(reader) == ["one", "two – with a dash"]


def test_reading_goes_on_from_a_stored_offset(tmp_path: Path):
    path = tmp_path / "events.jsonl"
    path.write_bytes(line("one"))
    offset = EventReader(path)
    assert messages(offset) == ["one"]
    path.write_bytes(line("one") + line("two"))
    assert messages(EventReader(path, offset.offset)) == ["two"]


def test_a_line_longer_than_one_read_arrives_whole(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("training.events.READ_BYTES", 64)
    path = tmp_path / "events.jsonl"
    path.write_bytes(line("x" * 1000) + line("after"))
    reader = EventReader(path)
    assert messages(reader) + messages(reader) == ["x" * 1000, "after"]


def test_an_unreadable_line_is_passed_over(tmp_path: Path):
    path = tmp_path / "events.jsonl"
    path.write_bytes(line("one") + b'{"type":"st{"type":"x"}\n' + b'{"type":"unknown","time":1}\n' + line("two"))
    reader = EventReader(path)
    assert messages(reader) == ["one", "two"]
    assert reader.offset == path.stat().st_size


def test_an_end_line_comes_alone_after_everything_before_it(tmp_path: Path):
    path = tmp_path / "events.jsonl"
    writer = EventWriter(path)
    writer.write(Phase, phase="training")
    writer.write(End, status="interrupted")
    writer.write(Note, message="of the next start")
    reader = EventReader(path)
    assert [[event.type for event in reader.read()] for _ in range(4)] == [["phase"], ["end"], ["note"], []]
