"""The prompts that the simulated provider keeps: for how long, how many, and from which size on."""

from __future__ import annotations

from organism.server.usage import LEAST_KEPT, SECONDS_KEPT, Cached, Part, PromptCache

SIZE = 2000


def prompt(text: str, tokens: int = SIZE) -> list[Part]:
    return [Part(text, tokens, marked=True)]


def test_it_forgets_the_prompt_that_was_used_longest_ago() -> None:
    cache = PromptCache()
    for number in range(10_000):
        assert cache.used(prompt(str(number)), now=0) == Cached(written=SIZE)
    assert cache.used(prompt("0"), now=1) == Cached(read=SIZE)  # it was used last now
    assert cache.used(prompt("one more"), now=1) == Cached(written=SIZE)
    assert cache.used(prompt("0"), now=1) == Cached(read=SIZE)
    assert cache.used(prompt("1"), now=1) == Cached(written=SIZE)


def test_a_prompt_is_kept_for_some_minutes_after_it_was_last_used() -> None:
    cache = PromptCache()
    assert cache.used(prompt("a"), now=0) == Cached(written=SIZE)
    for now in (SECONDS_KEPT - 1, 2 * SECONDS_KEPT - 2):
        assert cache.used(prompt("a"), now=now) == Cached(read=SIZE)
    assert cache.used(prompt("a"), now=3 * SECONDS_KEPT - 2) == Cached(written=SIZE)


def test_a_short_prompt_is_not_kept_and_its_mark_not_counted() -> None:
    cache = PromptCache()
    short = Part("short", LEAST_KEPT - 1, marked=True)
    for _ in range(2):
        assert cache.used([short], now=0) == Cached()
    both = [short, Part("long", 1, marked=True)]
    assert cache.used(both, now=0) == Cached(written=LEAST_KEPT)
    assert cache.used(both, now=0) == Cached(read=LEAST_KEPT)
    assert cache.used([short], now=0) == Cached()


def test_a_prefix_is_found_when_the_mark_has_moved_on() -> None:
    def grown(parts: int) -> list[Part]:
        return [Part(str(number), SIZE, marked=number == parts - 1) for number in range(parts)]

    cache = PromptCache()
    assert cache.used(grown(1), now=0) == Cached(written=SIZE)
    assert cache.used(grown(20), now=0) == Cached(read=SIZE, written=19 * SIZE)
    assert cache.used(grown(42), now=0) == Cached(written=42 * SIZE)  # as far back as that nobody looks
