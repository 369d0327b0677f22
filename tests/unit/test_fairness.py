"""Places at a vLLM server: who gets the next one, how each comes back, and what those who wait are told."""

import asyncio
import gc
import time
from collections import deque

import pytest

from accounts.errors import ApiError
from playground import fairness
from playground.fairness import Door


async def named(door: Door, name: str, order: list[str]) -> None:
    place = await door.enter(name[0])
    order.append(name)
    place.close()


def is_empty(door: Door) -> bool:
    return (door.inside, door.waiting) == (0, {})


async def test_waiting_projects_take_turns_and_within_one_the_first_comes_first() -> None:
    door, order = Door(1), []
    place = await door.enter("a")
    async with asyncio.TaskGroup() as group:
        for name in ["a1", "a2", "a3", "b1", "c1", "b2"]:
            group.create_task(named(door, name, order))
        await asyncio.sleep(0)
        assert order == []
        place.close()
    await asyncio.sleep(0)
    assert order == ["a1", "b1", "c1", "a2", "b2", "a3"]
    assert is_empty(door)


async def test_a_project_alone_may_have_every_place() -> None:
    door = Door(3)
    places = [await door.enter("a") for _ in range(3)]
    assert door.inside == 3
    for place in places:
        place.close()
    await asyncio.sleep(0)
    assert is_empty(door)


async def test_a_place_is_given_back_once() -> None:
    door = Door(2)
    first, _second = await door.enter("a"), await door.enter("a")
    first.close()
    first.close()
    del first
    await asyncio.sleep(0)
    assert door.inside == 1


async def test_a_place_given_back_in_another_thread_is_passed_on() -> None:
    door, order = Door(1), []
    place = await door.enter("a")
    waiting = asyncio.create_task(named(door, "b1", order))
    await asyncio.sleep(0)
    await asyncio.to_thread(place.close)
    await waiting
    assert order == ["b1"]


async def test_a_place_that_nobody_holds_any_more_is_given_back() -> None:
    door, order = Door(1), []
    held = [await door.enter("a")]
    held.append(held)  # type: ignore[arg-type]  # a ring, as an exception and its frames are
    waiting = asyncio.create_task(named(door, "b1", order))
    await asyncio.sleep(0)
    del held
    gc.collect()
    await waiting
    await asyncio.sleep(0)
    assert order == ["b1"]
    assert is_empty(door)


async def test_who_leaves_while_waiting_takes_no_place() -> None:
    door, order = Door(1), []
    place = await door.enter("a")
    impatient = asyncio.create_task(named(door, "b1", order))
    patient = asyncio.create_task(named(door, "c1", order))
    await asyncio.sleep(0)
    impatient.cancel()
    await asyncio.sleep(0)
    assert list(door.waiting) == ["c"]
    place.close()
    await patient
    await asyncio.sleep(0)
    assert order == ["c1"]
    assert is_empty(door)


async def test_who_leaves_in_the_moment_of_their_turn_passes_it_on() -> None:
    door, order = Door(1), []
    place = await door.enter("a")
    place.is_closed = True  # freed below, at once
    impatient = asyncio.create_task(named(door, "b1", order))
    patient = asyncio.create_task(named(door, "c1", order))
    await asyncio.sleep(0)
    door.free()
    assert list(door.waiting) == ["c"]  # the place is b's, who has not heard of it
    impatient.cancel()
    await patient
    await asyncio.sleep(0)
    assert order == ["c1"]
    assert is_empty(door)


async def test_who_waits_too_long_is_told_when_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fairness, "WAIT_SECONDS", 0.05)
    door = Door(1)
    place = await door.enter("a")
    with pytest.raises(ApiError) as refused:
        await door.enter("b")
    assert (refused.value.status, refused.value.code) == (429, "server_busy")
    assert refused.value.headers["Retry-After"] == "1"
    assert door.waiting == {}
    place.close()
    await asyncio.sleep(0)
    assert is_empty(door)


async def test_the_wait_is_told_from_how_fast_places_became_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fairness.time, "monotonic", lambda: 120.0)
    door = Door(1)
    door.left_at.extend([100.0, 105.0, 110.0, 115.0])  # one in five seconds
    turns = [asyncio.get_running_loop().create_future() for _ in range(4)]
    door.waiting = {"a": deque(turns[:3]), "b": deque(turns[3:])}
    assert door.seconds_for("c") == 15  # after the first of a and of b
    assert door.seconds_for("b") == 20  # after its own, and two of a
    assert door.seconds_for("a") == 25  # after its own three and b's


async def test_nobody_is_told_of_the_hours_in_which_nobody_waited() -> None:
    door = Door(1)
    door.left_at.extend([time.monotonic() - 30_000] * 2)
    assert door.seconds_for("a") == fairness.MOST_SECONDS
    place = await door.enter("a")
    assert door.seconds_for("b") == fairness.WAIT_SECONDS, "it was free: the hours before say nothing"
    place.close()


def test_each_event_loop_has_places_of_its_own() -> None:
    async def take() -> Door:
        place = await fairness.enter("http://somewhere", "a")
        assert fairness.door_of("http://somewhere").inside == 1
        left.append(place)
        return place.door

    left: list[fairness.Place] = []
    first, second = asyncio.run(take()), asyncio.run(take())
    assert first is not second
    for place in left:
        place.close()  # its loop has ended: nobody is left to hear of it


async def test_a_server_that_nobody_asks_any_more_is_forgotten() -> None:
    place = await fairness.enter("http://before", "a")
    kept = fairness.door_of("http://before")
    fairness.door_of("http://after")
    assert fairness.door_of("http://before") is kept, "somebody is still inside"
    place.close()
    await asyncio.sleep(0)
    fairness.door_of("http://newest")
    assert fairness.door_of("http://before") is not kept
