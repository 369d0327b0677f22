"""The table of rules is what the code says, and every rule stands in it."""

from proofs import dataset_rules
from proofs.cookbook_checks import findings
from training.problem_groups import TITLES
from training.repairs import catalogue


def test_the_document_is_what_a_run_writes() -> None:
    assert dataset_rules.DOCUMENT.read_text() == dataset_rules.document(), "run: python -m proofs.dataset_rules"


def test_every_kind_of_problem_has_an_example() -> None:
    shown = {example.kind for example in (*dataset_rules.ERRORS, *dataset_rules.WARNINGS)}
    # of raw text, which has no rows; of a base model, which the check does not know
    elsewhere = {"unreadable", "too_long"}
    of_tables_and_packed_files = {
        "packed",
        "csv",
        "columns",
        "row",
        "mapping",
    }  # tests/unit/test_{packed,tables,mapping}.py
    assert TITLES.keys() - shown == elsewhere | of_tables_and_packed_files


def test_each_example_is_an_error_or_a_warning_as_it_is_listed() -> None:
    for level, examples in (("error", dataset_rules.ERRORS), ("warning", dataset_rules.WARNINGS)):
        for example in examples:
            group = dataset_rules.group_of(example)
            assert group["level"] == level and group["message"] and group["fix"], example.kind


def test_rows_with_tools_and_weights_pass_here_and_not_in_the_cookbook() -> None:
    for words, row in dataset_rules.SOUND.items():
        report = dataset_rules.checked(dataset_rules.as_json(row).encode())
        assert [group["kind"] for group in report.groups] == ["few_rows"], words
    judged = {words: findings([row]) for words, row in dataset_rules.SOUND.items()}
    assert judged.pop("a name") == []
    assert all(judged.values())
    assert judged["`weight` 0 on one answer, 1 on another"] == ["breaks (TypeError)"]


def test_a_repair_that_is_offered_for_an_example_mends_it() -> None:
    from training.repairs.applying import Plan

    for example in (*dataset_rules.ERRORS, *dataset_rules.WARNINGS):
        repair = catalogue.repair_of(example.kind)
        if repair is None or repair.make is None:
            continue
        plan = Plan([repair.key], catalogue.Options(system="Be short."))
        rows = [new for line in example.content.splitlines() for new in plan.line(line, False).rows]
        left = dataset_rules.checked("\n".join(map(dataset_rules.as_json, rows)).encode()) if rows else None
        assert left is None or example.kind not in {group["kind"] for group in left.groups}, example.kind
