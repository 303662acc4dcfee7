"""Whose turn it is, and after how long."""

from __future__ import annotations

import random

import pytest

from organism.models.contract import BackendError
from organism.models.routing.failover import Turn, Way


def _way(backends: int, *, retries: int = 3, first: float = 1.0, longest: float = 8.0, dice: float = 0.0) -> Way:
    return Way(range(backends), retries=retries, backoff=(first, longest), dice=lambda: dice)


def _server(retry_after: float | None = None) -> BackendError:
    return BackendError("server", "500", retry_after=retry_after)


def test_every_backend_in_order_then_again_from_the_first() -> None:
    way, order = _way(3, retries=4), []
    while turn := way.next(0.0):
        order.append(turn.backend)
        way.failed(turn.backend, _server(), 0.0)
    assert order == [0, 1, 2, 0, 1]


def test_a_fresh_backend_is_tried_at_once_and_a_failed_one_waits() -> None:
    way = _way(2)
    way.failed(0, _server(), 10.0)
    assert way.next(10.0) == Turn(backend=1, at=10.0)
    way.failed(1, _server(), 10.5)
    assert way.next(10.5) == Turn(backend=0, at=11.0)


def test_the_wait_doubles_up_to_the_longest() -> None:
    way, waits = _way(1, retries=6), []
    for _ in range(6):
        way.failed(0, _server(), 0.0)
        turn = way.next(0.0)
        assert turn is not None
        waits.append(turn.at)
    assert waits == [1, 2, 4, 8, 8, 8]


def test_the_dice_take_up_to_half_of_it() -> None:
    dice = random.Random(3).random
    way = Way(range(1), retries=1000, backoff=(4.0, 4.0), dice=dice)
    waits = []
    for _ in range(1000):
        way.failed(0, _server(), 0.0)
        turn = way.next(0.0)
        assert turn is not None
        waits.append(turn.at)
    assert 2.0 < min(waits) < 2.1
    assert 3.9 < max(waits) <= 4.0


@pytest.mark.parametrize(
    ("asked", "waited"), [(3.0, 3.0), (0.0, 0.0), (500.0, 8.0), (-4.0, 1.0), (float("nan"), 1.0), (float("inf"), 8.0)]
)
def test_retry_after_wins_up_to_the_longest(asked: float, waited: float) -> None:
    way = _way(1)
    way.failed(0, _server(retry_after=asked), 0.0)
    turn = way.next(0.0)
    assert turn is not None
    assert turn.at == waited


def test_a_backend_that_refuses_for_good_is_not_tried_again() -> None:
    way = _way(2)
    way.failed(0, BackendError("auth", "401"), 0.0)
    way.failed(1, _server(), 0.0)
    assert way.next(0.0) == Turn(backend=1, at=1.0)
    way.failed(1, BackendError("rejected", "404"), 1.0)
    assert way.next(1.0) is None


def test_a_prompt_that_is_too_long_ends_it() -> None:
    way = _way(2)
    way.failed(0, BackendError("context", "too long"), 0.0)
    assert way.next(0.0) is None


def test_where_none_may_be_tried_it_is_the_turn_of_the_first_that_will() -> None:
    assert _way(3).next(5.0, {0: 30.0, 1: 10.0, 2: 20.0}.__getitem__) == Turn(backend=1, at=10.0)


def test_leaving_a_backend_out_is_no_attempt() -> None:
    way = _way(2, retries=0)
    way.skip(0)
    assert way.next(0.0) == Turn(backend=1, at=0.0)
    way.failed(1, _server(), 0.0)
    assert way.next(0.0) is None
