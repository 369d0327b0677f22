"""Malformed files from the fuzzer: a few hundred here; `python -m proofs.fuzz` makes ten thousand."""

import pytest
from hypothesis import HealthCheck, given, settings

from tests.examining import examine
from tests.malformed import files


@settings(max_examples=300, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
@given(file=files())
def test_no_malformed_file_crashes_what_reads_it(tmp_path_factory: pytest.TempPathFactory, file) -> None:
    _, name, content = file
    path = tmp_path_factory.getbasetemp() / "malformed"
    path.write_bytes(content)
    examine(path, name)
