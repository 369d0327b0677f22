"""Every page, every call of the API and every socket, filled with the ids of one project, and what they answer to whom.

Nothing is listed by hand but what a route's own words mean (`action`, `kind`): a new route is walked at once, and one
whose parameters nobody can fill ends the walk with a LookupError.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final
from urllib.parse import quote, urlencode

from asgiref.sync import async_to_sync
from channels.testing import WebsocketCommunicator
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection, transaction
from django.test import Client
from django.test.client import BOUNDARY, MULTIPART_CONTENT, encode_multipart
from django.urls import get_resolver, resolve, reverse

from accounts.models import ApiKey, Membership, OneTimeLink
from dashboard import walls
from dashboard.api import api
from dashboard.asgi import application
from dashboard.owned import belonging
from dashboard.sockets import routes as sockets
from playground.campaigns.models import Campaign, Invitation
from playground.edits.models import EditedAnswer
from playground.external.models import ExternalModel
from playground.judge.models import JudgeRun
from playground.matrix.models import Matrix, Prompt, PromptSet
from playground.models import Comparison, Response
from proofs.walls.cast import World
from training.aliases.models import Alias
from training.chains.models import Chain
from training.imported.models import ImportedJob
from training.intake.models import Making
from training.models import Checkpoint, DatasetFile, Export, FileTask, TrainingJob, WebhookDelivery, WebhookEndpoint
from training.parts.models import Upload
from training.permissions.models import CheckpointPermission
from training.repairs.models import Repair

KINDS: Final = {  # parameters that are a row's id
    "campaign_id": Campaign,
    "chain_id": Chain,
    "checkpoint_id": Checkpoint,
    "comparison_id": Comparison,
    "delivery_id": WebhookDelivery,
    "edit_id": EditedAnswer,
    "endpoint_id": WebhookEndpoint,
    "export_id": Export,
    "file_id": DatasetFile,
    "job_id": TrainingJob,
    "key_id": ApiKey,
    "link_id": OneTimeLink,
    "making_id": Making,
    "matrix_id": Matrix,
    "membership_id": Membership,
    "permission_id": CheckpointPermission,
    "pk": ExternalModel,
    "prompt_id": Prompt,
    "recipe_id": Chain,
    "repair_id": Repair,
    "response_id": Response,
    "row": Invitation,
    "run_id": JudgeRun,
    "set_id": PromptSet,
    "task_id": FileTask,
    "upload_id": Upload,
}
WORDS: Final[dict[str, dict[str, str]]] = {  # parameters that are a word, by route; "" is of all others
    "": {"line": "1", "key": "exact", "action": "delete", "verb": "close"},
    "act-on-member": {"action": "remove"},
    "act-on-checkpoint": {"action": "archive"},
    "act-on-job": {"action": "archive"},
    "act-on-judge": {"action": "cancel"},
    "act-on-model": {"name": "tiny", "action": "load"},
    "act-on-recipe": {"action": "cancel"},
    "act-on-webhook": {"action": "remove"},
    "change-terms": {"name": "tiny"},
    "docs-image": {"name": "job-light.png"},
    "docs-page": {"slug": "api"},
    "export-comparison": {"kind": "json"},
    "job-configuration": {"kind": "json"},
    "matrix-export": {"kind": "csv"},
    "remove-model": {"name": "tiny"},
    "remove-model-files": {"name": "tiny"},
    "revoke-judging": {"kind": "link"},
}
NEEDED: Final = {"remove-repeats": {"task": FileTask}}  # fields without which a page is not there, by route

EVERYBODYS: Final = {  # base models and the docs
    *("act-on-model", "change-terms", "remove-model", "remove-model-files"),
    *("docs-image", "docs-page"),
}
OUTSIDERS: Final = ("visitor", "stranger", "no key", "stranger's")
OPEN_CALL: Final = "/v1/openapi.json"  # the description of the API
UNDESCRIBED: Final = {OPEN_CALL, "/v1/", "/v1/<rest>"}  # the last two say that there is no such call


@dataclass
class Asked:
    """One request, and the status that each person or key got; `leaked`: what outsiders could read in the answer."""

    kind: str  # page, call or socket
    method: str
    route: str  # as written in the documents: <job_id> stands for any
    name: str
    path: str
    filled: dict[str, Any]
    answers: dict[str, int] = field(default_factory=dict)
    leaked: dict[str, set[str]] = field(default_factory=dict)
    reached: dict[str, list[str]] = field(default_factory=dict)  # rows of a stranger's that lead into the project
    to_sign_in: dict[str, bool] = field(default_factory=dict)
    requests: int = 0  # a stranger's may be several for one answer: each with other fields

    @property
    def is_of_the_project(self) -> bool:
        """Its address names something of the project; another's page may look the same."""
        return bool(self.filled) and self.name not in EVERYBODYS

    @property
    def most(self) -> int:
        """What the one who may most, who is asked first, was answered; 0 before."""
        return self.answers.get("owner", self.answers.get("all", 0))

    @property
    def is_there_for_nobody(self) -> bool:
        """The world has none of it, so that a 404 is no refusal."""
        return self.most in (404, 410)


def walk(world: World, *kinds: str) -> list[Asked]:
    """Looks first, then changes: what is allowed is really done, and taken back. `kinds`: page, call, socket. Methods
    that a page does not know are left out, if somebody is asked who may do all."""
    there = {"page": pages, "call": calls, "socket": handshakes}
    found = [asked for kind in kinds for asked in there[kind](world)]
    for asked in sorted(found, key=lambda each: each.method not in walls.SAFE_METHODS):
        if asked.kind == "page":
            _ask_pages(world, asked)
        elif asked.kind == "call":
            _ask_calls(world, asked)
        else:
            _shake_hands(world, asked)
    return [asked for asked in found if asked.most != 405]


# ---- what there is ----


def pages(world: World) -> Iterator[Asked]:
    for name, regex in walls.page_routes():
        filled = {kwarg: _value(world, name, kwarg) for kwarg in re.compile(regex).groupindex}
        route = re.sub(r"\(\?P<(\w+)>(?:[^()]|\([^()]*\))*\)", r"<\1>", f"/{regex}").replace("\\", "").replace("^", "")
        path = reverse(name, kwargs=filled)
        if (answering := resolve(path).url_name) != name:
            raise LookupError(f"{path} is answered by {answering}, not {name}: give {name} other words in WORDS")
        for method in ("GET", "POST"):
            yield Asked("page", method, route, name, path, filled)


def calls(world: World) -> Iterator[Asked]:
    """As the served OpenAPI describes them; routes that it does not know are in UNDESCRIBED, or end the walk."""
    described = api.get_openapi_schema()["paths"]
    routed = {f"/{route}" for _, _, route in walls.walk(get_resolver()) if route.startswith("v1/")}
    known = {re.sub(r"{(?:path:)?(\w+)}", r"<\1>", path) for path in described}
    if strange := {re.sub("<path:", "<", route) for route in routed} - known - UNDESCRIBED:
        raise LookupError(f"Not in the OpenAPI document and so not walked: {sorted(strange)}")
    for path, operations in described.items():
        filled = {kwarg: _value(world, path, kwarg) for kwarg in re.findall(r"{(\w+)}", path)}
        for method in operations:
            route = re.sub(r"{(\w+)}", r"<\1>", path)
            yield Asked("call", method.upper(), route, path, path.format(**filled), filled)
    yield Asked("call", "GET", OPEN_CALL, OPEN_CALL, OPEN_CALL, {})


def handshakes(world: World) -> Iterator[Asked]:
    for pattern in sockets:
        filled = {kwarg: _value(world, "", kwarg) for kwarg in pattern.pattern.regex.groupindex}
        route = re.sub(r"<\w+:(\w+)>", r"<\1>", f"/{pattern.pattern}")
        path = re.sub(r"<(\w+)>", lambda match: str(filled[match[1]]), route)  # noqa: B023 - used at once
        yield Asked("socket", "GET", route, route, path, filled)


def _value(world: World, name: str, kwarg: str) -> Any:
    """Raises LookupError for a parameter of a new route."""
    if name == "answer-by":
        return world.row(ImportedJob).pk
    if name in ("blind-comparison", "next-blind"):
        return world.blind_comparison.pk
    if kwarg in KINDS:
        return world.row(KINDS[kwarg]).pk
    if kwarg == "token":
        return {"judge": world.judge_token, "link": world.link_token}[name]
    if kwarg in ("model", "fine_tuned_model_checkpoint"):
        return world.row(Checkpoint).name
    if (name, kwarg) == ("act-on-alias", "name"):
        return world.row(Alias).name
    word = WORDS.get(name, {}).get(kwarg) or WORDS[""].get(kwarg)
    if word is None:
        raise LookupError(f"Nobody said what <{kwarg}> of {name} is filled with: see proofs/walls/walk.py")
    return word


# ---- asking ----


def _ask_pages(world: World, asked: Asked) -> None:
    for who, signed_in in _asked(world, asked, world.clients):
        cookies = {key: morsel.value for key, morsel in signed_in.cookies.items()}
        for fields in _fields(world, asked, who):
            client = Client(raise_request_exception=False)
            client.cookies.load(cookies)
            _ask(world, asked, who, partial(client.generic, asked.method, asked.path, **_sent(asked.method, fields)))


def _asked(world: World, asked: Asked, everybody: dict[str, Any]) -> list[tuple[str, Any]]:
    looks = asked.method in walls.SAFE_METHODS
    return [(who, how) for who, how in everybody.items() if not (looks and who in world.blind)]


def _fields(world: World, asked: Asked, who: str) -> list[dict[str, Any]]:
    """Empty, and of a stranger on a page of their own also with what is not theirs."""
    needed = _needed(world, asked)
    return [needed, *world.smuggled] if who.startswith("stranger") and not asked.filled else [needed]


def _needed(world: World, asked: Asked) -> dict[str, Any]:
    return {field: world.row(kind).pk for field, kind in NEEDED.get(asked.name, {}).items()}


def _sent(method: str, fields: dict[str, Any]) -> dict[str, Any]:
    if method == "GET":
        return {"QUERY_STRING": urlencode(fields, doseq=True)}
    return {"data": urlencode(fields, doseq=True), "content_type": "application/x-www-form-urlencoded"}


def _ask_calls(world: World, asked: Asked) -> None:
    for who, secret in _asked(world, asked, world.keys):
        headers = {"Authorization": f"Bearer {secret}"} if secret else {}
        for content, kind in _bodies(world, asked, who):
            client = Client(raise_request_exception=False)
            _ask(world, asked, who, partial(client.generic, asked.method, asked.path, content, kind, headers=headers))


def _bodies(world: World, asked: Asked, who: str) -> list[tuple[Any, str]]:
    """Content and its type. A stranger's are in order but for whose things they name, so that nothing else refuses."""
    if asked.method == "GET":
        return [("", "application/json")]
    if asked.route.endswith("/parts") and who == "stranger's":
        return [(encode_multipart(BOUNDARY, {"data": SimpleUploadedFile("part", b"{}")}), MULTIPART_CONTENT)]
    bodies = world.foreign_bodies.get(asked.route, [{}]) if who == "stranger's" else [{}]
    return [(json.dumps(body), "application/json") for body in bodies]


def _ask(world: World, asked: Asked, who: str, request: Callable[[], Any]) -> None:
    if asked.most == 405:
        return
    asked.requests += 1
    written: set[str] = set()  # tables

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if match := re.match(r'(?:INSERT (?:OR \w+ )?INTO|UPDATE|DELETE FROM) "?(\w+)', sql):
            written.add(match[1])
        return execute(sql, params, many, context)

    with transaction.atomic():
        with connection.execute_wrapper(note):
            answer = request()
            told = _content(answer) + str(dict(answer.items()))
        asked.answers.setdefault(who, answer.status_code)
        asked.to_sign_in[who] = answer.get("Location", "").startswith("/sign-in/") and asked.name != "sign-out"
        if who in OUTSIDERS:
            _look_for_leaks(world, asked, who, told)
            if written:
                _look_for_reach(world, asked, who, written)
        transaction.set_rollback(True)


def _content(answer: Any) -> str:
    if not answer.streaming:
        return answer.content.decode(errors="replace")
    return "" if answer.is_async else b"".join(answer.streaming_content).decode(errors="replace")


def _look_for_leaks(world: World, asked: Asked, who: str, told: str) -> None:
    """What was sent may be said again."""
    bodies = world.foreign_bodies.get(asked.route, [])
    sent = {word for word in _words([asked.filled, _needed(world, asked), *world.smuggled, *bodies]) if len(word) > 3}
    for value in sorted(sent, key=len, reverse=True):
        told = told.replace(value, "").replace(quote(value, safe=""), "").replace(quote(value), "")
    if leaked := {word for word in world.secrets if word in told}:
        asked.leaked.setdefault(who, set()).update(leaked)


def _words(value: Any) -> Iterator[str]:
    """Of a body, however deep."""
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _words(each)
    else:
        yield str(value)


def _look_for_reach(world: World, asked: Asked, who: str, written: set[str]) -> None:
    """Rows of the project that came, went or changed, and rows elsewhere that lead into it, in the tables that were
    written to."""
    reached = [label for label, rows in world.rows(tables=written).items() if rows != world.before[label]]
    for model, path in belonging.paths().items():
        for key in model._meta.concrete_fields if model._meta.db_table in written else ():
            target = key.related_model
            if target in belonging.paths() and (leads := f"{key.name}__{belonging.paths()[target]}") != path:
                across = {path: world.elsewhere.pk, leads: world.project.pk}
                if model._default_manager.filter(**across).exists():
                    reached.append(f"{belonging.label(model)}.{key.name}")
    if reached:
        asked.reached[who] = reached
    _look_for_leaks(world, asked, who, repr(world.rows(world.elsewhere, written)))


def _shake_hands(world: World, asked: Asked) -> None:
    """101 for an open door; else the code with which it was closed."""
    for who, client in _asked(world, asked, world.clients):
        asked.requests += 1
        asked.answers[who] = async_to_sync(_shake)(asked.path, client)


async def _shake(path: str, client: Client) -> int:
    cookie = "; ".join(f"{key}={morsel.value}" for key, morsel in client.cookies.items())
    headers = [(b"cookie", cookie.encode()), (b"host", b"testserver"), (b"origin", b"http://testserver")]
    socket = WebsocketCommunicator(application, path, headers=headers)
    opened, code = await socket.connect(timeout=30)
    await socket.disconnect()
    return 101 if opened else int(code or 0)
