"""Limits a minute: how they fill again, and what headers tell of them."""

from __future__ import annotations

from organism.server.limits import Bucket, Limits


def test_headers_tell_the_limit_what_is_left_of_it_and_when_all_of_it_will_be() -> None:
    limits = Limits(requests=Bucket(60), tokens=Bucket(1000))
    limits.take(requests=1, tokens=250, now=10.0)
    assert limits.of_chat(10.5) == {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "59",
        "x-ratelimit-reset-requests": "0.500s",
        "x-ratelimit-limit-tokens": "1000",
        "x-ratelimit-remaining-tokens": "758",
        "x-ratelimit-reset-tokens": "14.500s",
    }
    assert limits.of_messages(10.5, wall=1_700_000_000.0) == {
        "anthropic-ratelimit-requests-limit": "60",
        "anthropic-ratelimit-requests-remaining": "59",
        "anthropic-ratelimit-requests-reset": "2023-11-14T22:13:20Z",
        "anthropic-ratelimit-tokens-limit": "1000",
        "anthropic-ratelimit-tokens-remaining": "758",
        "anthropic-ratelimit-tokens-reset": "2023-11-14T22:13:34Z",
    }


def test_what_was_taken_beyond_a_limit_is_owed_and_no_headers_say_so() -> None:
    limits = Limits(tokens=Bucket(60))
    limits.take(tokens=90, now=0.0)
    assert limits.of_chat(0.0)["x-ratelimit-remaining-tokens"] == "0"
    assert limits.lacking(30.5) == ("tokens", 0.5)
    assert limits.lacking(31.0) is None
    assert limits.of_chat(1000.0)["x-ratelimit-remaining-tokens"] == "60"  # it fills no further
