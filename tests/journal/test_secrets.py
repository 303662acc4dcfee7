"""Keys and tokens are never written, whatever they stand in; what only looks a little like one is."""

from __future__ import annotations

import json

import pytest

from organism.journal.codec import content, decode
from organism.journal.secrets import Marked
from organism.likeness import INSTEAD, without_secrets
from organism.primitives import HandlerFailed
from organism.record.facts import Accepted, Posted, Resolved

SECRETS = [
    "sk-proj-" + "aB3dE5fG7h" * 3,
    "sk-ant-api03-" + "Zx9_-Qw1er" * 4,
    "AKIA" + "ABCDEFGH12345678",
    "ghp_" + "a1B2c3D4e5" * 4,
    "github_pat_" + "11ABCDE0Q0" * 4,
    "xoxb-" + "123456789A-abcdefghij",
    "AIza" + "SyD3-a_b1C2" * 3 + "xy",
    "hf_" + "abcdeFGHIJ" * 4,
]


@pytest.mark.parametrize("secret", SECRETS, ids=lambda secret: secret[:6])
def test_a_key_is_left_out_of_every_text_that_it_stands_in(secret: str) -> None:
    text = f'use {secret}, or key={secret} and "{secret}"'
    step = Posted(
        thread="t",
        seq=1,
        to="h",
        payload=HandlerFailed("crashed", text),
        sender="",
        kind="send",
        frame=("t", 1),
        opens=True,
    )
    written = content(Accepted(at=1.0, thread="t", steps=(step,)), "t").decode()
    assert secret not in written
    read = decode(json.loads(written)).steps[0]
    assert isinstance(read, Posted)
    assert read.payload.fields["text"] == text.replace(secret, INSTEAD)


@pytest.mark.parametrize("secret", SECRETS, ids=lambda secret: secret[:6])
@pytest.mark.parametrize("before", ["\n", "\t", "\r\n", "\0", "\x1b", "\u2028"], ids=ascii)
def test_a_key_is_known_behind_what_is_written_as_an_escape(secret: str, before: str) -> None:
    step = Resolved(ask=("t", 1), answer=HandlerFailed("crashed", f"the key is{before}{secret}"))
    written = content(Accepted(at=1.0, thread="t", steps=(step,)), "t").decode()
    assert secret not in written
    assert written.count(INSTEAD) == 2, "in its XML and in its JSON"


@pytest.mark.parametrize("secret", ['pass"word', "pass\\word", "pass\nword", "pässword", "a<b>word"])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_what_is_marked_is_known_in_json_that_is_itself_a_text(secret: str, ascii_only: bool) -> None:
    """So are the arguments of calls, and what was thought before them."""
    marked = Marked()
    marked.mark([secret])
    said = json.dumps({"q": f"is it {secret}?", "of": 1}, ensure_ascii=ascii_only)
    hidden = json.loads(marked.hide(json.dumps({"arguments": said, "plain": secret})))
    assert (json.loads(hidden["arguments"]), hidden["plain"]) == ({"q": f"is it {INSTEAD}?", "of": 1}, INSTEAD)


def test_a_private_key_that_was_cut_off_is_left_out_as_far_as_it_goes() -> None:
    line = "MIIEowIBAAKCAQEAyZ0o8bqv6kRq1u0dQ4mF7n9tWcXeUjYb3sL5pVgHrTzK2a+/"
    key = f"-----BEGIN RSA PRIVATE KEY-----\r\n{line}\r\n{line[:30]}"
    assert json.loads(without_secrets(json.dumps(f"{key}... and {SECRETS[2]}"))) == f"{INSTEAD}... and {INSTEAD}"


def test_a_private_key_is_left_out_with_all_its_lines() -> None:
    key = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nabc==\n-----END RSA PRIVATE KEY-----"
    assert json.loads(without_secrets(json.dumps({"a": f"x {key} y", "b": key}))) == {
        "a": f"x {INSTEAD} y",
        "b": INSTEAD,
    }


def test_a_private_key_without_an_end_stays_and_hides_no_other_secret() -> None:
    cut = "-----BEGIN PRIVATE KEY-----\nMIIEow\n"
    document = json.dumps({"a": f"{cut}{cut} {SECRETS[2]}", "b": f"{cut}-----END PRIVATE KEY-----"})
    assert json.loads(without_secrets(document)) == {"a": f"{cut}{cut} {INSTEAD}", "b": INSTEAD}


def test_private_keys_that_never_end_take_no_time() -> None:
    # To look for the end of each of them took twenty minutes, in which nothing else of the process ran.
    document = json.dumps("-----BEGIN PRIVATE KEY-----" * 40_000)
    assert without_secrets(document) == document


def test_a_token_of_a_header_is_left_out() -> None:
    assert (
        without_secrets('"Authorization: Bearer eyJhbGci.Oi9JIUzI1.NiJ9abc-_="') == f'"Authorization: Bearer {INSTEAD}"'
    )


@pytest.mark.parametrize(
    "text",
    [
        "desk-assistant-with-a-rather-long-name-2B",
        "sk-a-handler-whose-name-is-only-letters",
        "the risk-Adjusted-2021-figures-of-this-year",
        "ghost_writers_are_many_and_their_names_are_long_1234567890",
        "the bearer of this letter is 1234567890",
        "AKIABCDEFGHIJKLMNOPQRSTUVWXYZ1234",
        "hf_short",
    ],
)
def test_what_only_looks_like_one_is_written(text: str) -> None:
    assert without_secrets(json.dumps(text)) == json.dumps(text)
