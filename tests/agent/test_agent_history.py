"""What an agent remembers, and how it is cut for a last call."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from organism.agent.history import SHORTEST, History, shortened
from organism.agent.speech import Offer, answer_from
from organism.agent.window import Bounds

CALL = {"role": "assistant", "content": "", "tool_calls": [{"id": "1"}]}
VALUES = st.recursive(
    st.text(max_size=300) | st.integers() | st.none(),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


def result(content: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": "1", "content": content}


def test_history_is_in_the_state_a_key_a_message() -> None:
    state: dict[str, Any] = {}
    history = History(state)
    history.begin("You are.")
    history.add({"role": "user", "content": "one"})
    history.add(CALL)
    history.leave()
    before = dict(state)
    again = History(state)
    again.add(result("found"))
    again.leave()
    changed = {key for key in state if state[key] != before.get(key)}
    assert len(changed) == 2  # the message, and how many there are
    assert History(state).prompt() == ({"role": "system", "content": "You are."}, *again.messages)


def test_an_answer_that_says_nothing_is_not_remembered() -> None:
    history = History({})
    for message in ({"role": "user", "content": "hi"}, {"role": "assistant", "content": ""}, CALL, result("a")):
        history.add(message)
    assert [each["role"] for each in history.messages] == ["user", "assistant", "tool"]
    assert history.count == 3


def test_calls_are_not_parted_from_their_results() -> None:
    history = History({})
    messages = ({"role": "user"}, CALL, result("a"), result("b"), {"role": "user"}, CALL, result("c"))
    for message in messages:
        history.add(message)
    assert [[each["role"] for each in group] for group in history.groups()] == [
        ["assistant", "tool", "tool"],
        ["user"],
        ["assistant", "tool"],
    ]


def test_a_first_message_that_calls_tools_does_not_stay_behind_without_its_results() -> None:
    assert Bounds().pins({"role": "user", "content": "one"})
    assert not Bounds().pins(CALL)


def test_what_was_thought_counts_where_it_is_sent_again() -> None:
    thought = "hmm " * 1000
    for kept in ({"kept_for_server": {"server": "a", "said": thought}}, {"thinking_blocks": [{"thinking": thought}]}):
        history = History({})
        history.add({**CALL, **kept})
        assert history.characters > len(thought)


def test_what_is_short_is_left_as_it_is() -> None:
    group = [CALL, result("short")]
    assert list(shortened(group)) == [group]


def test_texts_of_a_document_are_cut_and_it_stays_a_document() -> None:
    document = {"Found": {"files": [{"path": "a.md", "excerpt": "word " * 400}]}}
    *_, last = shortened([CALL, result(json.dumps(document))])
    content = last[1]["content"]
    text, _, said = content.rpartition(" [cut from ")
    (file,) = json.loads(text)["Found"]["files"]
    assert file["path"] == "a.md"
    assert file["excerpt"].startswith("word word")
    assert said == f"{len(json.dumps(document))} characters]"
    assert last[0] is CALL


@given(VALUES)
def test_every_version_is_shorter_and_says_so(value: Any) -> None:
    content = json.dumps({"Payload": value}, ensure_ascii=False)
    versions = [group[1]["content"] for group in shortened([CALL, result(content)])]
    assert versions[0] == content
    for version in versions[1:]:
        text, found, _ = version.rpartition("[cut from ")
        assert version == content or found
        if version != content and text:
            assert isinstance(json.loads(text), dict)
    if len(content) > SHORTEST:
        assert len(versions[-1]) <= SHORTEST + len("… [cut from 1000000 characters]")


def test_whether_there_is_an_answer_to_xml_is_known_without_looking_through_all() -> None:
    state: dict[str, Any] = {}
    history = History(state)
    history.add({"role": "user", "content": "one"})
    history.add(result("found"))
    assert not history.has_xml
    history.add(answer_from("peer", "<Found/>"))
    assert history.has_xml
    history.leave()
    again = History(state)
    assert again.has_xml
    prompt = again.prompt()
    offer = Offer(())
    assert offer.told(prompt, by_xml=again.has_xml) == offer.told(prompt)
    assert offer.told(prompt)[-1] == {"role": "user", "content": "Message from peer:\n<Found/>"}
