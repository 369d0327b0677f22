"""Every rule of a dataset with a row that breaks it, what is said of it and what mends it: docs/dataset-rules.md.

    python -m proofs.dataset_rules [--check]

The rows are really checked, by Hone and by the cookbook's checks (cookbook_checks.py); nothing in the table is typed.
--check writes nothing and ends with 1 when the document is not what would be written (a test does the same).
"""

import argparse
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proofs.cookbook_checks import findings
from proofs.server import ROOT
from training import datasets
from training.problem_groups import title_of
from training.repairs import catalogue

DOCUMENT = ROOT / "docs" / "dataset-rules.md"
LONGEST = 240  # characters of an example row shown

USER: dict[str, Any] = {"role": "user", "content": "Weather in Köln?"}
ANSWER: dict[str, Any] = {"role": "assistant", "content": "Rain."}
SYSTEM: dict[str, Any] = {"role": "system", "content": "Be short."}
RESULT: dict[str, Any] = {"role": "tool", "tool_call_id": "a", "content": "rain"}
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
ONCE = '{"city": "Köln"}'
TEXT = {"type": "text", "text": "Weather?"}


def chat(*messages: Any, **more: Any) -> dict[str, Any]:
    return {"messages": list(messages), **more}


def calling(arguments: Any = ONCE, call_id: str = "a") -> dict[str, Any]:
    function = {"name": "weather", "arguments": arguments}
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": call_id, "type": "function", "function": function}],
    }


def pair(preferred: Any, other: Any, *messages: Any) -> dict[str, Any]:
    given = {"messages": list(messages or [USER])}
    return {"input": given, "preferred_output": preferred, "non_preferred_output": other}


@dataclass(frozen=True)
class Example:
    """Lines of a file of which the last shows the rule `kind`; bytes are written as they are."""

    kind: str
    lines: tuple[Any, ...]

    @property
    def content(self) -> bytes:
        return b"\n".join(line if isinstance(line, bytes) else as_json(line).encode() for line in self.lines)

    @property
    def rows(self) -> list[Any] | None:
        """As the cookbook reads them; None where its json.loads ends it already."""
        try:
            return [json.loads(line) for line in self.content.decode().split("\n")]
        except ValueError:
            return None


def as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def one(kind: str, *lines: Any) -> Example:
    return Example(kind, lines)


ERRORS = (
    one("empty", b""),
    one("not_jsonl", b"PK\x03\x04\x14\x00"),
    one("not_json", b'{"messages": [}'),
    one("not_json", b'{"messages": [], "score": NaN}'),
    one("not_object", [USER, ANSWER]),
    one("not_utf8", b'{"messages": [{"role": "user", "content": "caf\xe9"}]}'),
    one("line_too_long", chat({**USER, "content": "Why? " * (datasets.MAX_LINE_BYTES // 5)}, ANSWER)),
    one("unknown_format", {"question": "Weather?", "answer": "Rain."}),
    one("sharegpt", {"conversations": [{"from": "human", "value": "Weather?"}, {"from": "gpt", "value": "Rain."}]}),
    one("mixed", chat(USER, ANSWER), {"prompt": "Weather?", "completion": "Rain."}),
    one("messages", {"messages": "Weather?"}),
    one("messages", chat()),
    one("message_shape", chat("Weather?", ANSWER)),
    one("role_missing", chat({"content": "Weather?"}, ANSWER)),
    one("role_name", chat({**USER, "role": "human"}, ANSWER)),
    one("role_unknown", chat({**USER, "role": "narrator"}, ANSWER)),
    one("no_content", chat({"role": "user"}, ANSWER)),
    one("content_type", chat(USER, {**ANSWER, "content": {"weather": "rain"}})),
    one("text_parts", chat({**USER, "content": [TEXT]}, ANSWER)),
    one("other_parts", chat({**USER, "content": [TEXT, {"type": "image_url", "image_url": {"url": "…"}}]}, ANSWER)),
    one("refusal", chat(USER, {"role": "assistant", "refusal": "I cannot say."})),
    one("weight_place", chat({**USER, "weight": 1}, ANSWER)),
    one("weight_type", chat(USER, {**ANSWER, "weight": True})),
    one("weight_value", chat(USER, {**ANSWER, "weight": 0.5})),
    one("name", chat({**USER, "name": 7}, ANSWER)),
    one("tools", chat(USER, ANSWER, tools="weather")),
    one("tool_shape", chat(USER, ANSWER, tools=[{"name": "weather"}])),
    one("tool_call_id", chat(USER, calling(), {"role": "tool", "content": "rain"}, ANSWER, tools=TOOLS)),
    one("tool_calls", chat(USER, {**ANSWER, "tool_calls": [{"id": "a"}]}, tools=TOOLS)),
    one("no_calls", chat(USER, {**ANSWER, "tool_calls": []})),
    one("arguments_type", chat(USER, calling({"city": "Köln"}), tools=TOOLS)),
    one("arguments_twice", chat(USER, calling(json.dumps(ONCE, ensure_ascii=False)), tools=TOOLS)),
    one("arguments_json", chat(USER, calling("city=Köln"), tools=TOOLS)),
    one("no_assistant", chat(USER)),
    one("all_masked", chat(USER, {**ANSWER, "weight": 0})),
    one("field", {"prompt": "Weather?"}),
    one("empty_completion", {"prompt": "Weather?", "completion": ""}),
    one("field", {"input": {"messages": [USER]}, "preferred_output": [ANSWER]}),
    one("input", {**pair([ANSWER], [{**ANSWER, "content": "Sun."}]), "input": "Weather?"}),
    one("input", pair([ANSWER], [{**ANSWER, "content": "Sun."}], USER, ANSWER)),
    one("answer", pair("Rain.", [ANSWER])),
    one("answer_role", pair([{**ANSWER, "role": "user"}], [ANSWER])),
    one("same_answers", pair([ANSWER], [ANSWER])),
)
WARNINGS = (
    one("bom", b"\xef\xbb\xbf" + as_json(chat(USER, ANSWER)).encode()),
    one("blank_lines", b"", chat(USER, ANSWER)),
    one("few_rows", chat(USER, ANSWER)),
    one("repeat", chat(USER, ANSWER), chat(USER, ANSWER)),
    one("trailing_space", chat(USER, {**ANSWER, "content": "Rain. \n"})),
    one("template_marks", chat(USER, {**ANSWER, "content": "Rain.<|im_end|>"})),
    one("empty_answer", chat(USER, ANSWER, USER, {**ANSWER, "content": ""})),
    one("empty_message", chat({**SYSTEM, "content": ""}, USER, ANSWER)),
    one("no_user", chat(SYSTEM, ANSWER)),
    one("late_system", chat(USER, SYSTEM, ANSWER)),
    one("ends_without_answer", chat(USER, ANSWER, USER)),
    one("some_without_system", chat(SYSTEM, USER, ANSWER), chat(USER, ANSWER)),
    one("calls_without_tools", chat(USER, calling(), RESULT, ANSWER)),
    one("answer_without_call", chat(USER, calling(call_id="b"), RESULT, ANSWER, tools=TOOLS)),
    one("unknown_field:id", chat({**USER, "id": 1}, ANSWER)),
    one("prompt_space", {"prompt": "Weather? ", "completion": "Rain."}),
    one("uneven_lengths", *[pair([{**ANSWER, "content": f"Rain at {n}."}], [ANSWER]) for n in range(10)]),
)
SOUND = {
    "a call, its result and the answer to it": chat(USER, calling(), RESULT, ANSWER, tools=TOOLS),
    "a call at the end, without content": chat(USER, calling(), tools=TOOLS),
    "the older function call": chat(
        USER,
        {"role": "assistant", "content": None, "function_call": {"name": "weather", "arguments": ONCE}},
        functions=[{"name": "weather", "parameters": {"type": "object"}}],
    ),
    "`weight` 0 on one answer, 1 on another": chat(USER, {**ANSWER, "weight": 0}, USER, {**ANSWER, "weight": 1}),
    "the role developer": chat({**SYSTEM, "role": "developer"}, USER, ANSWER),
    "a name": chat({**USER, "name": "ada"}, ANSWER),
}


def checked(content: bytes) -> datasets.Report:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        path.write_bytes(content)
        return datasets.check(path)


def group_of(example: Example) -> dict[str, Any]:
    """What the check says of it. Raises LookupError when it does not find what the example shows."""
    for group in checked(example.content).groups:
        if group["kind"] == example.kind:
            return group
    raise LookupError(f"{example.kind} is not found in {example.content[:200]!r}")


# ---- the document ----


def document() -> str:
    """docs/dataset-rules.md, whole."""
    return "\n".join(
        [
            "# The rules of a dataset",
            "",
            "Written by `python -m proofs.dataset_rules`, which checks every row below; a test keeps it up to date.",
            "*The cookbook* is what the checks of OpenAI's notebook *Chat_finetuning_data_prep* say of the same rows:",
            "they know chat rows only, refuse calls of tools, and end at a numeric `weight`.",
            "",
            "A problem names its line, its field and what stands there. What mends it is one press on the dataset's",
            "*Problems* tab: it first shows what would change, and makes a new version of the dataset; rows that it",
            "does not change keep their exact bytes. Rows that are too long for a base model are cut after a turn,",
            "split between turns or left out there, too.",
            "",
            "## Rows that cannot be trained on",
            "",
            *_table(ERRORS),
            "",
            "## Warnings: it may be meant so",
            "",
            *_table(WARNINGS),
            "",
            "## Sound rows, with tools and weights",
            "",
            "| row | Hone says | the cookbook says |",
            "| --- | --- | --- |",
            *_sound(),
            "",
        ]
    )


def _table(examples: tuple[Example, ...]) -> list[str]:
    lines = [
        "| rule | example | what is said | where | what to do | mended by a press | the cookbook |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for example in examples:
        group = group_of(example)
        repair = catalogue.repair_of(example.kind)
        cells = (
            title_of(example.kind),
            _shown(example),
            _plain(group["message"]),
            f"`{group['field']}`" if group["field"] else "line" if group["lines"] else "file",
            _plain(group["fix"]),
            repair.title if repair else "–",
            _cookbook(example.rows),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _sound() -> list[str]:
    """Each with what both say; Hone's warning of too few rows is of the file."""
    lines = []
    for words, row in SOUND.items():
        kinds = [group["kind"] for group in checked(as_json(row).encode()).groups if group["kind"] != "few_rows"]
        said = ", ".join(map(title_of, kinds)) or "ready"
        lines.append(f"| {words}: {_code(as_json(row))} | {said} | {_cookbook([row])} |")
    return lines


def _shown(example: Example) -> str:
    lines = example.content.split(b"\n")
    before = f"after {len(lines) - 1} other row{'s' if len(lines) > 2 else ''}: " if len(lines) > 1 else ""
    if example.kind == "blank_lines":
        before = "after a blank line: "
    text = lines[-1][: 2 * LONGEST].decode("utf-8", "backslashreplace").replace("\ufeff", "\\ufeff")
    text = text.replace("\x03\x04\x14\x00", "…")
    return f"{before}{_code(text)}" if text else "no byte at all"


def _code(text: str) -> str:
    text = text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
    return f"`{_cell(text)}`"


def _plain(text: str) -> str:
    """Names of fields and JSON within words stay as they are."""
    return _cell(text.replace("<", "&lt;"))


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _cookbook(rows: list[Any] | None) -> str:
    if rows is None:
        return "cannot read it"
    return ", ".join(findings(rows)) or "nothing"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing, end with 1 when it is out of date")
    text = document()
    if parser.parse_args().check:
        return int(DOCUMENT.read_text() != text)
    DOCUMENT.write_text(text)
    print(f"{DOCUMENT}: {len(ERRORS)} rows with problems, {len(WARNINGS)} with warnings, {len(SOUND)} sound")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
