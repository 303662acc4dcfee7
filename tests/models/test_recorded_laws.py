"""A law of recordings: whatever backends do, their recording does the same again, is charged the same and fails with the same words."""

from __future__ import annotations

import tempfile
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from organism.errors import BudgetExhaustedError, ModelError
from organism.models.contract import BackendError
from organism.models.recordings.playback import RecordedBackend, Tape
from organism.models.recordings.recorder import Recording
from organism.settings import Price
from tests.models.router_world import NOON, Purse, Say, Script, World, ask, usage
from tests.models.test_router_laws import SCRIPTS, TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from organism.models.contract import Backend

EACH: Any = {"timeout": TIMEOUT, "price": Price(input=Decimal(1), output=Decimal(2))}
WHOLE = 99
"""Pieces after which a stream is left that is read to its end."""


async def _call(world: World, purse: Purse, reads: int | None) -> Any:
    """What one call comes to; ``reads`` is after how many pieces its reader leaves, ``None``: it is no stream."""
    try:
        if reads is None:
            done = await world.router.complete(ask("next?"), purse)
            return done.text, done.finish_reason, done.usage, done.attempts
        pieces: list[str] = []
        async with world.router.stream(ask("next?"), purse) as stream:
            async for piece in stream:
                pieces.append(piece)
                if len(pieces) > reads:
                    break
    except ModelError as error:
        return error.causes
    except BudgetExhaustedError as error:
        return str(error)
    return pieces, stream.completion.text, stream.completion.finish_reason, stream.completion.usage


async def _played(backends: Sequence[Backend], calls: Sequence[int | None], tokens: int) -> tuple[Any, Any, bool]:
    """What the calls come to, what is charged for each of their attempts, and whether a circuit was opened."""
    world, purse = World(*_any(backends), each=[EACH] * len(backends)), Purse(tokens=tokens)
    came = [await _call(world, purse, reads) for reads in calls]
    for backend in backends:
        await backend.aclose()
    assert not purse.held
    opened = any(deployment.circuit.reopened for deployment in world.router._deployments.values())
    return came, purse.charges, opened


def _any(backends: Sequence[Any]) -> Sequence[Any]:
    return backends


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(
    scripts=SCRIPTS,
    calls=st.lists(st.none() | st.sampled_from([0, 1, WHOLE]), min_size=1, max_size=4),
    tokens=st.sampled_from([10**12, 400]),
)
async def test_a_recording_does_what_was_done(
    *, scripts: list[list[Say]], calls: list[int | None], tokens: int
) -> None:
    of = World(*(Script() for _ in scripts), each=[EACH] * len(scripts)).settings
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "answers.jsonl"
        recording = Recording(path, clock=lambda: NOON)
        first = await _played(
            [recording.of(Script(*steps), each) for steps, each in zip(scripts, of, strict=True)], calls, tokens
        )
        # How long a circuit is open is a matter of time, and a recording takes none.
        assume(not first[2])
        tape = Tape.of(path)
        again = await _played([RecordedBackend(tape, each) for each in of], calls, tokens)
    assert again == first


async def test_a_stream_that_broke_before_its_first_piece_costs_what_it_had_reported(tmp_path: Path) -> None:
    broken = Say("", error=BackendError("cut", "it broke"), early=usage(50, 7))
    (of,) = World(Script(), each=[EACH]).settings
    recording = Recording(tmp_path / "answers.jsonl", clock=lambda: NOON)
    first = await _played([recording.of(Script(broken, Say()), of)], [WHOLE], 10**12)
    again = await _played([RecordedBackend(Tape.of(recording.path), of)], [WHOLE], 10**12)
    assert again == first
    assert [charge.estimated for charge in first[1]] == [False, False]
