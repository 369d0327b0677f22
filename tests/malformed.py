"""Files that are nearly right, thought out by hypothesis: sound rows of every format, changed at a place that hurts,
written in every way that a file can be written, and then damaged.
"""

import csv
import gzip
import io
import json
import zipfile
from typing import Any

import pyarrow
import pyarrow.parquet
from hypothesis import strategies as st

CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 2}'}}
SOUND: list[dict[str, Any]] = [
    {"messages": [{"role": "user", "content": "2 and 2?"}, {"role": "assistant", "content": "4", "weight": 1}]},
    {
        "messages": [
            {"role": "system", "content": "Be short."},
            {"role": "user", "content": "2 and 2?"},
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "c1", "content": "4"},
            {"role": "assistant", "content": "It is 4."},
        ],
        "tools": [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}],
    },
    {"prompt": "2 and 2?", "completion": " 4"},
    {
        "input": {"messages": [{"role": "user", "content": "2 and 2?"}]},
        "preferred_output": [{"role": "assistant", "content": "4"}],
        "non_preferred_output": [{"role": "assistant", "content": "5"}],
    },
    {"prompt": "2 and 2?", "chosen": "4", "rejected": "5"},
    {"text": "Once upon a time."},
    {"instruction": "Add.", "input": "2 and 2", "output": "4"},
    {"conversations": [{"from": "human", "value": "2 and 2?"}, {"from": "gpt", "value": "4"}]},
]
KEYS = st.sampled_from(
    ["messages", "role", "content", "weight", "name", "tools", "tool_calls", "function", "arguments", "prompt", "text"]
)
NASTY = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, -1, 2, 10**30, -(10**400), 1e308, 0.1, "", " ", "\0", "\ud800", "\u2028", "{", "[{", "é" * 50]),
    st.text(max_size=20),
    st.sampled_from([[], {}, [[]], [None], [{}], [""], {"": ""}, {"messages": []}]),
    st.sampled_from(["user", "assistant", "system", "tool", "human", "narrator"]),
)
FILE_NAMES = st.sampled_from(
    ["rows.jsonl", "rows.csv", "rows.tsv", "rows.json", "rows.parquet", "rows.txt", "rows.md", "rows", "rows.jsonl.gz"]
)
# what JSON writers of other languages, editors and broken pipes leave in a line
LINE_FAULTS = st.sampled_from(
    [
        b"\x00", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"NaN", b"Infinity", b"-", b"1" * 5000, b"1e999",
        b"[" * 3000, b'{"a":' * 3000, b'"', b"\\", b"\\ud800", b"\\u00", b",", b"}", b"]", b"\r", b"\n", b"\t", b"'",
        b"/* x */", b"\x1f\x8b", b"\xe2\x80\xa8", b'"messages":', b" " * 100,
    ]
)  # fmt: skip


@st.composite
def rows(draw: st.DrawFn) -> dict[str, Any]:
    """A sound row with up to three changes, anywhere in it."""
    row: Any = json.loads(json.dumps(draw(st.sampled_from(SOUND))))
    for _ in range(draw(st.integers(0, 3))):
        row = _changed(draw, row)
    return row


def _changed(draw: st.DrawFn, value: Any) -> Any:
    """One step down, or the change itself."""
    if isinstance(value, dict) and value and draw(st.integers(0, 3)):
        key = draw(st.sampled_from(sorted(value)))
        how = draw(st.integers(0, 5))
        if how == 0:
            return {name: each for name, each in value.items() if name != key}
        if how == 1:
            return {**value, draw(KEYS): draw(NASTY)}
        return {**value, key: _changed(draw, value[key])}
    if isinstance(value, list) and value and draw(st.integers(0, 3)):
        at = draw(st.integers(0, len(value) - 1))
        if draw(st.integers(0, 5)) == 0:
            return [*value, value[at]]
        return [*value[:at], _changed(draw, value[at]), *value[at + 1 :]]
    return draw(NASTY)


@st.composite
def damaged(draw: st.DrawFn, content: bytes, most: int = 3) -> bytes:
    """With bytes put in, taken out or changed; now and then cut off."""
    for _ in range(draw(st.integers(0, most))):
        at = draw(st.integers(0, max(0, len(content))))
        how = draw(st.integers(0, 3))
        if how == 0:
            content = content[:at] + draw(LINE_FAULTS) + content[at:]
        elif how == 1:
            content = content[:at] + content[at + draw(st.integers(1, 40)) :]
        elif how == 2:
            content = content[:at] + draw(st.binary(min_size=1, max_size=8)) + content[at + 8 :]
        elif draw(st.integers(0, 4)) == 0:
            content = content[:at]
    return content


def _json(value: Any, draw: st.DrawFn) -> bytes:
    text = json.dumps(value, ensure_ascii=draw(st.booleans()))
    return text.encode("utf-8", errors="surrogatepass")


@st.composite
def jsonl_files(draw: st.DrawFn) -> bytes:
    ends = draw(st.sampled_from([b"\n", b"\r\n", b"\n\n", b"\r", b" \n"]))
    lines = [draw(damaged(_json(row, draw), most=1)) for row in draw(st.lists(rows(), max_size=6))]
    return draw(st.sampled_from([b"", b"\xef\xbb\xbf"])) + ends.join(lines) + draw(st.sampled_from([b"", ends]))


@st.composite
def json_lists(draw: st.DrawFn) -> bytes:
    content = b"[" + b", ".join(_json(row, draw) for row in draw(st.lists(rows(), max_size=6))) + b"]"
    return draw(damaged(content))


@st.composite
def csv_files(draw: st.DrawFn) -> bytes:
    out = io.StringIO()
    quoting = draw(st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]))
    writer = csv.writer(out, delimiter=draw(st.sampled_from(",;\t|")), quoting=quoting)
    names = draw(
        st.sampled_from([["question", "answer"], ["instruction", "input", "output"], ["a", "a", ""], ["text"]])
    )
    writer.writerow(names)
    cell = st.one_of(st.text(max_size=30), st.sampled_from(['"', "\n", "a,b;c", "\0", '[{"role": "user"}]', "7"]))
    for row in draw(st.lists(st.lists(cell, min_size=0, max_size=5), max_size=6)):
        writer.writerow(row)
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "cp1252"]))
    return draw(damaged(out.getvalue().encode(encoding, errors="replace")))


@st.composite
def parquet_files(draw: st.DrawFn) -> bytes:
    names = draw(st.sampled_from([["question", "answer"], ["text"], ["prompt", "chosen"], ["a"]]))
    column = st.one_of(
        st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=10), min_size=3, max_size=3),
        st.lists(st.one_of(st.none(), st.integers(-9, 9)), min_size=3, max_size=3),
        st.just([b"\xff", b"", None]),
        st.just([[{"role": "user", "content": "x"}], [], None]),
    )
    table = pyarrow.table({name: draw(column) for name in names})
    out = io.BytesIO()
    pyarrow.parquet.write_table(table, out, compression=draw(st.sampled_from(["none", "zstd", "snappy"])))
    return draw(damaged(out.getvalue()))


@st.composite
def packed_files(draw: st.DrawFn) -> bytes:
    content = draw(st.one_of(jsonl_files(), csv_files(), json_lists()))
    kind = draw(st.sampled_from(["gzip", "zstd", "zip", "twice"]))
    if kind == "gzip":
        packed = gzip.compress(content, compresslevel=1, mtime=0)
    elif kind == "zstd":
        packed = pyarrow.compress(content, codec="zstd", asbytes=True)
    elif kind == "twice":
        packed = gzip.compress(gzip.compress(content, mtime=0), mtime=0)
    else:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", draw(st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))) as archive:
            for number in range(draw(st.integers(0, 2))):
                archive.writestr(zipfile.ZipInfo(f"rows{number}.jsonl"), content)
        packed = out.getvalue()
    return draw(damaged(packed))


@st.composite
def files(draw: st.DrawFn) -> tuple[str, str, bytes]:
    """(what it began as, its name, its content)."""
    kind = draw(st.sampled_from(["jsonl", "jsonl", "json list", "csv", "parquet", "packed", "bytes"]))
    by_kind: dict[str, st.SearchStrategy[bytes]] = {
        "jsonl": jsonl_files(),
        "json list": json_lists(),
        "csv": csv_files(),
        "parquet": parquet_files(),
        "packed": packed_files(),
        "bytes": st.binary(max_size=200),
    }
    own = {"jsonl": "rows.jsonl", "json list": "rows.json", "csv": "rows.csv", "parquet": "rows.parquet"}
    name = own[kind] if kind in own and draw(st.integers(0, 3)) else draw(FILE_NAMES)
    return kind, name, draw(by_kind[kind])
