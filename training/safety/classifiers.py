"""Who says whether a text is harmful: the classifier that comes with Hone, somebody's moderation endpoint, or a guard
model behind a chat endpoint or in Hone's own list."""

from collections.abc import Callable, Sequence
from typing import Protocol

from django.conf import settings
from django.utils.module_loading import import_string

from accounts.errors import ApiError
from accounts.sealed import Unreadable
from training.safety.asking import TRIES, Server
from training.safety.embedded import Embedded, Verdict
from training.safety.endpoint import Endpoint
from training.safety.guard_model import Guard
from training.safety.guards import FAMILIES
from training.safety.models import ModerationPolicy


class Classifier(Protocol):
    key: str  # tells it from every other one, with its version
    name: str  # for people
    batch: int  # texts that it is given at once

    def judge(self, texts: Sequence[str], questions: Sequence[str] = ()) -> list[Verdict]:
        """One verdict a text. `questions`: what each text answers, "" where it answers nothing. Raises ApiError when
        it cannot be asked."""
        ...


def classifier_of(policy: ModerationPolicy, *, in_page: bool = False) -> Classifier:
    """`in_page`: somebody waits for the answer, so it is soon given up."""
    if policy.is_embedded:
        return Embedded()
    if not policy.base_url:
        name = f"{policy.model}, served by Hone"
        return Guard(FAMILIES[policy.guard], name, lambda: _own_server(policy, in_page))
    tries = 1 if in_page else TRIES
    if policy.guard:
        name = f"{policy.model} at {policy.base_url}"
        return Guard(FAMILIES[policy.guard], name, lambda: (_server(policy, "guard model", tries), policy.model))
    return Endpoint(policy.base_url, policy.model, lambda: _server(policy, "moderation endpoint", tries))


def _server(policy: ModerationPolicy, what: str, tries: int) -> Server:
    who = f"The {what} at {policy.base_url}"
    try:
        return Server(policy.base_url, policy.key, who, tries)
    except Unreadable as error:
        raise Server(policy.base_url, "", who).trouble(str(error)) from error


def _own_server(policy: ModerationPolicy, in_page: bool) -> tuple[Server, str]:
    """Of a model in Hone's list. It is loaded first if it has to be; what serves it is named in the settings, as
    nothing in this package knows about serving."""
    serve: Callable[..., tuple[str, str]] = import_string(settings.SERVE_GUARD)
    who = f"The guard model {policy.model}"
    try:
        address, served_name = serve(policy.project, policy.model, in_page=in_page)
    except ApiError as error:
        told = f"{who} did not judge: {error.message}"
        code = "moderation_unavailable"
        raise ApiError(told, status=error.status, type=error.type, code=code, headers=error.headers) from error
    return Server(address, "", who), served_name
