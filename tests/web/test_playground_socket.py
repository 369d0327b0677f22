"""The playground's websocket against vLLM's HTTP without weights: streaming, stopping, retrying, blindness."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from channels.db import database_sync_to_async
from channels.routing import URLRouter
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import AnonymousUser

from accounts.models import Project, User
from playground import comparisons, gateway, streams
from playground.consumers import routes
from playground.edits import keeping
from playground.external import calling
from playground.external.models import ExternalModel
from playground.forms import Setup
from playground.models import Comparison, Deployment, Response, Vote
from tests.fakes.vllm import Handler, State
from tests.http_serving import serving
from tests.playground_cast import make_base, make_checkpoint
from tests.stand_in import KEY, standing
from tests.waiting import until
from training.models import BaseModel, Checkpoint

pytestmark = pytest.mark.django_db(transaction=True)
SECONDS = 20


class Nameless(Handler):
    """The fake vLLM, but an answer does not say which model it comes from."""

    asked: list[dict[str, Any]]

    def chat(self, body: dict[str, Any]) -> None:
        self.asked.append(body)
        if "break" in body["messages"][-1]["content"] and body["model"].startswith("ft:"):
            return self.fail(f"{body['model']} ran out of memory", 500)
        return super().chat(body | {"model": "somebody"})


@pytest.fixture
def vllm(tmp_path: Path) -> Iterator[type[Nameless]]:
    """A server of its own for each test, so that its pace can be set: `vllm.state.bent`."""

    class Server(Nameless):
        asked: list[dict[str, Any]] = []
        state = State("SmolLM2-135M-Instruct", tmp_path, context=4096, ranks=16, slots=6)

    with serving(Server) as address:
        Server.url = address  # type: ignore[attr-defined]
        yield Server


@pytest.fixture
def models(project: Project, vllm: type[Nameless]) -> list[str]:
    """A base model and two epochs, loaded in that server and verified."""
    base = make_base()
    found: list[BaseModel | Checkpoint] = [base, *(make_checkpoint(project, base, epoch=epoch) for epoch in (1, 2))]
    for one in found:
        which = {"checkpoint": one} if isinstance(one, Checkpoint) else {"base_model": one}
        Deployment.objects.create(
            **which,
            state=Deployment.State.READY,
            url=vllm.url,  # type: ignore[attr-defined]
            proof=Deployment.Proof.VERIFIED,
            proof_json={"mean_difference": 0.01},
        )
        vllm.state.adapters[one.name] = vllm.state.folder
    return [one.name for one in found]


@asynccontextmanager
async def page(user: Any) -> AsyncIterator[WebsocketCommunicator]:
    socket = WebsocketCommunicator(URLRouter(routes), "/ws/playground/")
    socket.scope["user"], socket.scope["session"] = user, {}
    connected, _ = await socket.connect()
    assert connected
    try:
        yield socket
    finally:
        await socket.disconnect(timeout=SECONDS)


async def hear(socket: WebsocketCommunicator, *kinds: str) -> list[dict[str, Any]]:
    """Every frame up to and with the first of these kinds."""
    frames = []
    while True:
        frames.append(await socket.receive_json_from(timeout=SECONDS))
        if frames[-1]["type"] in kinds:
            return frames


async def hear_all_speak(socket: WebsocketCommunicator, columns: int) -> None:
    """Until every column has begun its answer."""
    spoken: set[str] = set()
    while len(spoken) < columns:
        spoken |= set((await hear(socket, "text"))[-1]["columns"])


def setup_of(models: list[str], **fields: Any) -> dict[str, Any]:
    settings = {"temperature": 0.5, "top_p": 1.0, "max_tokens": 64, "seed": 3}
    return {"columns": [{"model": model} for model in models], "system": "", "settings": settings, **fields}


async def ask(socket: WebsocketCommunicator, models: list[str], prompt: str = "hello there") -> list[dict[str, Any]]:
    await socket.send_json_to({"type": "send", "prompt": prompt, "setup": setup_of(models)})
    return await hear(socket, "settled")


async def test_all_columns_stream_at_once_and_are_stored_with_their_figures(owner: User, models: list[str]) -> None:
    async with page(owner) as socket:
        await socket.send_json_to({"type": "open", "models": models})
        (states,) = await hear(socket, "states")
        assert [column["state"] for column in states["columns"]] == ["ready"] * 3
        assert all(column["verified"] for column in states["columns"])
        frames = await ask(socket, models)
    started = frames[0]
    assert started["type"] == "started" and started["address"] == f"/playground/{started['comparison']}/"
    spoken = {"0": "", "1": "", "2": ""}
    for frame in frames:
        for column, text in frame.get("columns", {}).items() if frame["type"] == "text" else ():
            spoken[column] += text
    assert spoken == dict.fromkeys("012", "somebody heard hello there ")
    finished = [frame for frame in frames if frame["type"] == "finished"]
    assert sorted(frame["column"] for frame in finished) == [0, 1, 2]
    assert all("2 prompt tokens" in f["figures"] and "4 tokens · finished" in f["figures"] for f in finished)
    responses = [response async for response in Response.objects.order_by("column")]
    assert [response.model for response in responses] == models
    assert all(r.text == spoken["0"] and r.first_token_seconds and r.tokens_per_second for r in responses)
    assert responses[1].proof == {"state": "verified", "mean_difference": 0.01}
    assert responses[1].settings["seed"] == 3


async def test_columns_really_run_at_the_same_time(owner: User, models: list[str], vllm: type[Nameless]) -> None:
    vllm.state.bent["token_seconds"] = 0.05
    async with page(owner) as socket:
        await socket.send_json_to({"type": "open", "models": models})
        frames = await ask(socket, models, "one two three four five six")
    together = [frame for frame in frames if frame["type"] == "text" and len(frame["columns"]) > 1]
    assert together, "no frame carried text of two columns"


async def test_text_comes_in_about_twenty_frames_a_second_however_fast_it_is(
    owner: User, models: list[str], vllm: type[Nameless]
) -> None:
    vllm.state.bent["token_seconds"] = 0.001
    async with page(owner) as socket:
        await socket.send_json_to({"type": "open", "models": models})
        started = asyncio.get_running_loop().time()
        frames = await ask(socket, models, "word " * 60)
        seconds = asyncio.get_running_loop().time() - started
    texts = [frame for frame in frames if frame["type"] == "text"]
    assert 0 < len(texts) <= seconds * 20 + 4  # each column's end brings its last piece at once


async def test_a_column_can_have_its_own_system_prompt_and_settings(
    owner: User, models: list[str], vllm: type[Nameless]
) -> None:
    setup = setup_of(models[:2], system="Be brief.")
    setup["columns"][1] |= {"system": "", "settings": {"temperature": 0.0, "max_tokens": 2}}
    async with page(owner) as socket:
        await socket.send_json_to({"type": "open", "models": models[:2]})
        await socket.send_json_to({"type": "send", "prompt": "hi", "setup": setup})
        await hear(socket, "settled")
    bodies = {body["model"]: body for body in vllm.asked}
    assert bodies[models[0]]["messages"][0] == {"role": "system", "content": "Be brief."}
    assert bodies[models[1]]["messages"] == [{"role": "user", "content": "hi"}]
    assert (bodies[models[0]]["temperature"], bodies[models[1]]["temperature"]) == (0.5, 0.0)
    assert (await Response.objects.aget(column=1)).stop_reason == "length"


async def test_the_conversation_goes_on_in_every_column(owner: User, models: list[str], vllm: type[Nameless]) -> None:
    async with page(owner) as socket:
        await socket.send_json_to({"type": "open", "models": models})
        await ask(socket, models, "first")
        frames = await ask(socket, models, "second")
    assert frames[0]["turn"] == 1
    assert [m["content"] for m in vllm.asked[-1]["messages"]] == ["first", "somebody heard first ", "second"]
    assert await Comparison.objects.acount() == 1


async def test_one_column_stops_and_the_others_go_on(owner: User, models: list[str], vllm: type[Nameless]) -> None:
    vllm.state.bent["token_seconds"] = 0.04
    prompt = "word " * 40
    async with page(owner) as socket:
        await socket.send_json_to({"type": "open", "models": models})
        await socket.send_json_to({"type": "send", "prompt": prompt, "setup": setup_of(models)})
        await hear_all_speak(socket, 3)
        await socket.send_json_to({"type": "stop", "column": 1})
        await hear(socket, "settled")
    stopped = await Response.objects.aget(column=1)
    assert stopped.stop_reason == "stopped" and 0 < len(stopped.text) < len(prompt)
    others = [response async for response in Response.objects.exclude(column=1)]
    assert all(response.stop_reason == "stop" and response.text.count("word") == 40 for response in others)


async def test_stop_all_stores_what_had_come_and_stops_the_servers_work(
    owner: User, models: list[str], vllm: type[Nameless]
) -> None:
    vllm.state.bent["token_seconds"] = 0.05
    async with page(owner) as socket:
        await socket.send_json_to({"type": "open", "models": models})
        await socket.send_json_to({"type": "send", "prompt": "word " * 300, "setup": setup_of(models)})
        await hear_all_speak(socket, 3)
        await socket.send_json_to({"type": "stop", "column": None})
        await hear(socket, "settled")
    assert [r.stop_reason async for r in Response.objects.all()] == ["stopped"] * 3
    await until(lambda: vllm.state.left == 3)


async def test_a_page_that_goes_away_stops_everything_and_finds_what_had_come(
    owner: User, models: list[str], vllm: type[Nameless]
) -> None:
    vllm.state.bent["token_seconds"] = 0.05
    async with page(owner) as socket:
        await socket.send_json_to({"type": "open", "models": models})
        await socket.send_json_to({"type": "send", "prompt": "word " * 300, "setup": setup_of(models)})
        await hear_all_speak(socket, 3)
    await until(lambda: vllm.state.left == 3)
    stored = [response async for response in Response.objects.all()]
    assert len(stored) == 3 and all(response.stop_reason == "stopped" for response in stored)


async def test_a_column_that_fails_says_why_in_its_place_and_can_be_retried(
    owner: User, models: list[str], vllm: type[Nameless]
) -> None:
    async with page(owner) as socket:
        await socket.send_json_to({"type": "open", "models": models[:2]})
        frames = await ask(socket, models[:2], "break it")
        errors = {frame["column"]: frame["error"] for frame in frames if frame["type"] == "finished"}
        assert errors[0] == "" and "ran out of memory" in errors[1]
        vllm.chat = lambda self, body: Handler.chat(self, body | {"model": "somebody"})  # type: ignore[method-assign,assignment]
        await socket.send_json_to({"type": "retry", "column": 1})
        frames = await hear(socket, "settled")
    assert [frame["column"] for frame in frames if frame["type"] == "finished"] == [1]
    again = await Response.objects.aget(column=1)
    assert again.text == "somebody heard break it " and again.error == ""


async def test_a_server_that_dies_in_mid_answer_is_told_in_its_column_and_the_retry_is_answered(
    owner: User, models: list[str], vllm: type[Nameless]
) -> None:
    def dies(self: Any, chunks: list[dict[str, Any]]) -> None:
        """The connection of one that was killed: cut in the middle of an event."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        written = b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks[:3])[:-9]
        self.wfile.write(b"%x\r\n%b\r\n" % (len(written), written))
        self.close_connection = True

    vllm.stream = dies  # type: ignore[method-assign,assignment]
    async with page(owner) as socket:
        await socket.send_json_to({"type": "open", "models": models[:1]})
        (told,) = [frame for frame in await ask(socket, models[:1]) if frame["type"] == "finished"]
        assert "stopped while it was asked" in told["error"] and "Please try again" in told["error"]
        vllm.stream = Handler.stream  # type: ignore[method-assign]
        await socket.send_json_to({"type": "retry", "column": 0})
        (told,) = [frame for frame in await hear(socket, "settled") if frame["type"] == "finished"]
    again = await Response.objects.aget()
    assert told["error"] == again.error == "" and again.text == "somebody heard hello there "


async def test_loading_is_shown_and_waited_for(owner: User, models: list[str]) -> None:
    loading = Deployment.objects.filter(checkpoint__isnull=True)
    await loading.aupdate(state=Deployment.State.LOADING, reason="Loading the base model into vLLM, about 45 s")
    async with page(owner) as socket:
        await socket.send_json_to({"type": "open", "models": models})
        (states,) = await hear(socket, "states")
        assert states["columns"][0]["state"] == "loading"
        await socket.send_json_to({"type": "send", "prompt": "hi", "setup": setup_of(models)})
        await hear(socket, "finished")
        await loading.aupdate(state=Deployment.State.READY, reason="")
        frames = await hear(socket, "settled")
        states = [frame for frame in frames if frame["type"] == "states"] or await hear(socket, "states")
        assert states[-1]["columns"][0] == {"state": "ready", "words": "", "verified": True}
    assert (await Response.objects.aget(column=0)).text


async def test_a_model_that_takes_longer_than_the_wait_is_waited_for_again(
    owner: User, models: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[str] = []
    thrice = asyncio.Event()
    first = gateway.still_loading

    def told(reason: str = "", *seconds: int) -> Any:
        waits.append(reason)
        if len(waits) == 3:
            thrice.set()
        return first(reason)

    monkeypatch.setattr(streams, "WAIT_SECONDS", 0.05)
    monkeypatch.setattr(gateway, "still_loading", told)
    loading = Deployment.objects.filter(checkpoint__isnull=True)
    await loading.aupdate(state=Deployment.State.LOADING, reason="Behind two others")
    async with page(owner) as socket:
        await socket.send_json_to({"type": "open", "models": models[:1]})
        await socket.send_json_to({"type": "send", "prompt": "hi", "setup": setup_of(models[:1])})
        await hear(socket, "started")
        async with asyncio.timeout(SECONDS):
            await thrice.wait()
        await loading.aupdate(state=Deployment.State.READY, reason="")
        finished = next(frame for frame in await hear(socket, "settled") if frame["type"] == "finished")
    assert finished["error"] == "" and (await Response.objects.aget()).text


async def test_an_edited_answer_is_not_asked_again_and_says_so_at_once(
    owner: User, models: list[str], vllm: type[Nameless]
) -> None:
    async with page(owner) as socket:
        await socket.send_json_to({"type": "open", "models": models})
        await ask(socket, models)
        answer = await Response.objects.select_related("turn__comparison").aget(column=1)
        before = answer.text
        await database_sync_to_async(keeping.keep)(response=answer, editor=owner, text="as it should be")
        asked = len(vllm.asked)
        await socket.send_json_to({"type": "retry", "column": 1})
        assert "Remove the edit to ask again" in (await hear(socket, "error"))[-1]["message"]
        await socket.send_json_to({"type": "retry", "column": 0})
        await hear(socket, "settled")
    assert len(vllm.asked) == asked + 1, "only the column without an edit"
    assert (await Response.objects.aget(column=1)).text == before


async def test_a_model_that_cannot_be_loaded_says_so_in_its_column(owner: User, models: list[str]) -> None:
    failed = Deployment.objects.filter(checkpoint__isnull=True)
    async with page(owner) as socket:
        await socket.send_json_to({"type": "open", "models": models})
        await hear(socket, "states")
        await failed.aupdate(state=Deployment.State.FAILED, reason="Its folder is gone.")
        frames = await ask(socket, models)
    errors = {frame["column"]: frame["error"] for frame in frames if frame["type"] == "finished"}
    assert errors[0] == "The model cannot be served: Its folder is gone."
    assert errors[1] == errors[2] == ""


async def test_no_frame_of_a_blind_comparison_tells_anything_before_the_vote(
    owner: User, project: Project, models: list[str], vllm: type[Nameless]
) -> None:
    setup = Setup.model_validate(setup_of(models))
    blind = await database_sync_to_async(comparisons.start_comparison)(
        project=project, user=owner, setup=setup, blind=True
    )
    async with page(owner) as socket:
        await socket.send_json_to({"type": "open", "comparison": blind.pk})
        frames = await hear(socket, "waiting")
        await socket.send_json_to({"type": "send", "prompt": "hello"})
        frames += await hear(socket, "settled")
        await socket.send_json_to({"type": "send", "prompt": "break"})
        frames += await hear(socket, "settled")
        await socket.send_json_to({"type": "retry", "column": 0})
        frames += await hear(socket, "settled")
    kinds = {frame["type"] for frame in frames}
    assert kinds == {"waiting", "started", "progress", "settled"}  # no text, no state, nothing of one column
    said = json.dumps(frames)
    for secret in (*models, "SmolLM2", "ticket", "ft:", "ckpt", "epoch", "verified", "tok/s", "memory", "somebody"):
        assert secret not in said
    assert frames[0] == {"type": "waiting", "ready": 3, "of": 3}
    assert await Response.objects.filter(turn__position=0).acount() == 3


async def test_a_blind_comparison_is_closed_after_the_vote(owner: User, project: Project, models: list[str]) -> None:
    setup = Setup.model_validate(setup_of(models))
    blind = await database_sync_to_async(comparisons.start_comparison)(
        project=project, user=owner, setup=setup, blind=True
    )
    async with page(owner) as socket:
        await socket.send_json_to({"type": "open", "comparison": blind.pk})
        await socket.send_json_to({"type": "send", "prompt": "hello"})
        await hear(socket, "settled")
        turn = await blind.turns.select_related("comparison").aget()
        await database_sync_to_async(comparisons.record_vote)(turn=turn, voter=owner, verdict="tie")
        for frame in ({"type": "send", "prompt": "more"}, {"type": "retry", "column": None}):
            await socket.send_json_to(frame)
            assert "judged" in (said := (await hear(socket, "error"))[-1]["message"]) or "voted on" in said
    assert await Vote.objects.acount() == 1


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        ("not json", "does not know"),
        ("[]", "does not know"),
        ('{"type": "dance"}', "does not know"),
        ('{"type": "send", "prompt": ""}', "Message"),
        ('{"type": "send", "prompt": "hi"}', "Choose a model first"),
        ('{"type": "retry"}', "nothing to retry"),
        ('{"type": "open", "models": ["1","2","3","4","5","6","7","8","9"]}', "at most 8"),
        ('{"type": "open", "comparison": "cmp_elsewhere"}', "does not exist"),
        ('{"type": "send", "prompt": "hi", "setup": {"columns": [{"model": "nobody"}]}}', "does not exist"),
        ('{"type": "send", "prompt": "hi", "setup": {"columns": [{"model": "a"}], "settings": {"top_p": 7}}}', "Top p"),
    ],
)
async def test_wrong_frames_are_answered_in_words(owner: User, models: list[str], frame: str, said: str) -> None:
    async with page(owner) as socket:
        await socket.send_to(text_data=frame)
        assert said in (await hear(socket, "error"))[-1]["message"]


async def test_a_second_message_waits_for_the_first(owner: User, models: list[str], vllm: type[Nameless]) -> None:
    vllm.state.bent["token_seconds"] = 0.02
    async with page(owner) as socket:
        await socket.send_json_to({"type": "open", "models": models})
        await socket.send_json_to({"type": "send", "prompt": "word " * 40, "setup": setup_of(models)})
        await hear(socket, "text")
        await socket.send_json_to({"type": "send", "prompt": "too soon", "setup": setup_of(models)})
        assert "still coming" in (await hear(socket, "error"))[-1]["message"]


async def test_a_stranger_reaches_neither_comparison_nor_checkpoints(
    stranger: User, owner: User, project: Project, models: list[str]
) -> None:
    made = await database_sync_to_async(comparisons.start_comparison)(
        project=project, user=owner, setup=Setup.model_validate(setup_of(models))
    )
    async with page(stranger) as socket:
        await socket.send_json_to({"type": "open", "comparison": made.pk})
        assert "does not exist" in (await hear(socket, "error"))[-1]["message"]
        await socket.send_json_to({"type": "send", "prompt": "hi", "setup": setup_of([models[1]])})
        assert "does not exist" in (await hear(socket, "error"))[-1]["message"]


async def test_somebody_signed_out_gets_no_socket(db: None) -> None:
    socket = WebsocketCommunicator(URLRouter(routes), "/ws/playground/")
    socket.scope["user"], socket.scope["session"] = AnonymousUser(), {}
    assert await socket.connect() == (False, 4401)


async def test_a_model_of_somebody_elses_server_answers_beside_ours_and_is_not_verified(
    owner: User, project: Project, models: list[str], settings: Any
) -> None:
    settings.HONE_PRICE_CURRENCY = "€"
    with standing() as server:
        vendor = ExternalModel(project=project, name="Vendor", base_url=server.base_url, model="parrot")
        vendor.input_price, vendor.output_price = 1.0, 100.0
        vendor.keep_key(KEY)
        await vendor.asave()
        async with page(owner) as socket:
            await socket.send_json_to({"type": "open", "models": [models[1], vendor.pk]})
            (states,) = await hear(socket, "states")
            assert states["columns"][1] == {"state": "external", "words": "", "verified": False}
            frames = await ask(socket, [models[1], vendor.pk])
        await calling.close()
    figures = next(f["figures"] for f in frames if f["type"] == "finished" and f["column"] == 1)
    assert "7 prompt tokens" in figures and "3 tokens · €0.00031 · finished" in figures
    ours, theirs = [response async for response in Response.objects.order_by("column")]
    assert theirs.text == "heard hello there " and theirs.proof is None and theirs.cost == pytest.approx(307e-6)
    assert ours.proof and ours.cost is None
    assert KEY not in json.dumps(frames)


async def test_a_blind_page_hears_nothing_that_tells_an_external_model(
    owner: User, project: Project, models: list[str]
) -> None:
    with standing() as server:
        good = await ExternalModel.objects.acreate(
            project=project, name="Vendor", base_url=server.base_url, model="parrot"
        )  # it wants a key and has none
        columns = {"columns": [{"model": models[1]}, {"model": good.pk}]}
        blind = await database_sync_to_async(comparisons.start_comparison)(
            project=project, user=owner, setup=Setup.model_validate(columns), blind=True
        )
        async with page(owner) as socket:
            await socket.send_json_to({"type": "open", "comparison": blind.pk})
            frames = await hear(socket, "waiting")
            await socket.send_json_to({"type": "send", "prompt": "hello"})
            frames += await hear(socket, "settled")
        await calling.close()
    assert {frame["type"] for frame in frames} == {"waiting", "started", "progress", "settled"}
    said = json.dumps(frames)
    for secret in ("Vendor", "ext_", "external", "401", "key", server.base_url, models[1]):
        assert secret not in said
    assert "it wants a key" in (await Response.objects.exclude(error="").aget()).error


async def test_every_sample_is_asked_for_at_once_and_stored_and_the_first_is_streamed(
    owner: User, models: list[str], vllm: type[Nameless]
) -> None:
    def three(self: Any, body: dict[str, Any]) -> None:
        pieces = [(0, "one "), (2, "three"), (1, "two"), (0, "more")]
        self.asked.append(body)
        self.stream([{"choices": [{"index": index, "delta": {"content": text}}]} for index, text in pieces])

    vllm.chat = three  # type: ignore[method-assign,assignment]
    setup = setup_of(models[:1])
    setup["settings"] |= {"n": 3}
    async with page(owner) as socket:
        await socket.send_json_to({"type": "open", "models": models[:1]})
        await socket.send_json_to({"type": "send", "prompt": "hi", "setup": setup})
        frames = await hear(socket, "settled")
    assert vllm.asked[0]["n"] == 3
    said = "".join(frame["columns"]["0"] for frame in frames if frame["type"] == "text")
    stored = await Response.objects.aget()
    assert said == stored.text == "one more"
    assert [sample["text"] for sample in stored.more_samples] == ["two", "three"]
    assert stored.seconds and stored.first_token_seconds and stored.seconds >= stored.first_token_seconds


@pytest.mark.parametrize(("model", "texts"), [("single", ["3 ", "4 ", "5 "]), ("parrot", ["heard hello there "] * 3)])
async def test_a_server_without_n_is_asked_as_often_as_there_are_samples_with_a_seed_for_each(
    owner: User, project: Project, model: str, texts: list[str]
) -> None:
    with standing() as server:
        vendor = ExternalModel(project=project, name="Vendor", base_url=server.base_url, model=model)
        vendor.keep_key(KEY)
        await vendor.asave()
        setup = setup_of([vendor.pk])
        setup["settings"] |= {"n": 3}
        async with page(owner) as socket:
            await socket.send_json_to({"type": "open", "models": [vendor.pk]})
            await socket.send_json_to({"type": "send", "prompt": "hello there", "setup": setup})
            frames = await hear(socket, "settled")
        await calling.close()
    stored = await Response.objects.aget()
    assert [stored.text, *(sample["text"] for sample in stored.more_samples)] == texts
    assert stored.prompt_tokens == 3 * 7 and stored.error == "", "what all three cost"
    said = "".join(frame["columns"]["0"] for frame in frames if frame["type"] == "text")
    assert said == texts[0], "only the first is said while it comes"


async def test_tools_go_to_the_model_and_its_calls_come_back_whole(
    owner: User, models: list[str], vllm: type[Nameless]
) -> None:
    def calls(self: Any, body: dict[str, Any]) -> None:
        self.asked.append(body)
        heads = [{"index": 0, "id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": ""}}]
        parts = [[{"index": 0, "function": {"arguments": text}}] for text in ('{"city": ', '"Ulm"}')]
        deltas = [{"choices": [{"index": 0, "delta": {"tool_calls": each}}]} for each in (heads, *parts)]
        self.stream([*deltas, {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}])

    vllm.chat = calls  # type: ignore[method-assign,assignment]
    tool = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {}}}}
    schema = {"type": "object", "properties": {}}
    setup = setup_of(models[:1], tools=json.dumps([tool]), response_format=json.dumps(schema))
    async with page(owner) as socket:
        await socket.send_json_to({"type": "open", "models": models[:1]})
        await socket.send_json_to({"type": "send", "prompt": "Weather in Ulm?", "setup": setup})
        frames = await hear(socket, "settled")
    assert vllm.asked[0]["tools"][0]["function"]["name"] == "get_weather" and "n" not in vllm.asked[0]
    assert vllm.asked[0]["response_format"]["json_schema"]["schema"] == schema
    stored = await Response.objects.aget()
    assert stored.tool_calls == [{"name": "get_weather", "arguments": '{"city": "Ulm"}'}]
    assert stored.error == "" and stored.settings["tools"][0]["function"]["name"] == "get_weather"
    assert next(frame for frame in frames if frame["type"] == "finished")["error"] == ""


async def test_tools_that_are_none_are_told_with_their_place_and_nothing_is_stored(
    owner: User, models: list[str]
) -> None:
    setup = setup_of(models[:1], tools='[{"type": "function"}]')
    async with page(owner) as socket:
        await socket.send_json_to({"type": "open", "models": models[:1]})
        await socket.send_json_to({"type": "send", "prompt": "hi", "setup": setup})
        told = (await hear(socket, "error"))[-1]
    assert told["param"] == "setup.tools" and "number 1 must look like" in told["message"]
    assert not await Comparison.objects.aexists()


async def test_a_prompt_that_is_longer_than_the_context_is_told_in_its_column_and_kept(
    owner: User, models: list[str], vllm: type[Nameless]
) -> None:
    prompt = "word " * 20_000
    async with page(owner) as socket:
        await socket.send_json_to({"type": "open", "models": models[:1]})
        await socket.send_json_to({"type": "send", "prompt": prompt, "setup": setup_of(models[:1])})
        frames = await hear(socket, "settled")
        told = next(frame for frame in frames if frame["type"] == "finished")["error"]
        assert "maximum context length" in told
        await socket.send_json_to({"type": "send", "prompt": "x" * 200_001, "setup": setup_of(models[:1])})
        assert "Message: " in (await hear(socket, "error"))[-1]["message"]
    assert (await Response.objects.select_related("turn").aget()).turn.prompt == prompt
