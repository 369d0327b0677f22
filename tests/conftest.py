"""The fixed cast (owner and teammate share a project, stranger has another) and the figures of each test level."""

import json
import logging
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.test import Client

from accounts.models import ApiKey, Membership, Project, User
from training.usage import book


@pytest.fixture
def project(db: None) -> Project:
    return Project.objects.create(name="Support")


@pytest.fixture
def owner(project: Project) -> User:
    user = User.objects.create_superuser("owner@example.com", "a long password")
    Membership.objects.create(user=user, project=project, role=Membership.Role.OWNER)
    return user


@pytest.fixture
def teammate(project: Project) -> User:
    user = User.objects.create_user("teammate@example.com", "a long password")
    Membership.objects.create(user=user, project=project)
    return user


@pytest.fixture
def stranger(db: None) -> User:
    user = User.objects.create_user("stranger@example.com", "a long password")
    Membership.objects.create(user=user, project=Project.objects.create(name="Elsewhere"), role=Membership.Role.OWNER)
    return user


def _signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def owner_client(owner: User) -> Client:
    return _signed_in(owner)


@pytest.fixture
def stranger_client(stranger: User) -> Client:
    return _signed_in(stranger)


@pytest.fixture
def api_key(owner: User, project: Project) -> str:
    return ApiKey.make(project=project, user=owner, name="test")[1]


@pytest.fixture(autouse=True)
def usage_is_written_when_a_test_asks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """By `book.write()`: a thread of its own would write into the next test's database."""
    monkeypatch.setattr(book, "later", lambda: None)
    yield
    book._sums.clear()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Browser tests come last, because playwright keeps an event loop in the main thread; the story comes first among
    them, because it begins with the very first sign-in link."""
    items.sort(key=lambda item: ("tests/browser/" in item.nodeid, "test_story" not in item.nodeid))


LEVELS: dict[str, dict[str, float]] = defaultdict(lambda: {"passed": 0, "failed": 0, "skipped": 0, "seconds": 0.0})

TERMINAL: list[pytest.TerminalReporter] = []


def pytest_sessionstart(session: pytest.Session) -> None:
    TERMINAL.append(session.config.pluginmanager.get_plugin("terminalreporter"))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    level = LEVELS[report.nodeid.split("/")[1]]
    level["seconds"] += report.duration
    if report.when == "call" or report.outcome != "passed":
        level[report.outcome] += 1
    if report.failed:  # at once: a run that is cut short never reaches pytest's own list
        TERMINAL[0].write_line(f"\n{report.nodeid} ({report.when}) {report.longreprtext[-1500:]}", flush=True)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.section("levels")
    for name, level in sorted(LEVELS.items()):
        counts = ", ".join(f"{level[outcome]:.0f} {outcome}" for outcome in ("passed", "failed", "skipped"))
        terminalreporter.write_line(f"{name:8} {counts}, {level['seconds'] / 60:.1f} min")
    if "HONE_TEST_REPORT" in os.environ:
        Path(os.environ["HONE_TEST_REPORT"]).write_text(json.dumps(LEVELS))


def pytest_unconfigure() -> None:
    logging.raiseExceptions = False  # sessions that are collected at exit would log to a closed stream
