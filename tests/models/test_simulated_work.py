"""What the simulated model does with tools: it searches, reads, gathers and answers, and it always comes to an end."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from organism.models.simulation.options import Options
from organism.models.simulation.words import one_line, sentences
from tests.models.simulated_world import STRING, arguments, ask, listed, play, record, tool, user

if TYPE_CHECKING:
    from organism.models.contract import ToolCall

FILES = {
    "docs/tides.md": "# Tides\n\nA tide is the rise and fall of the sea. The moon pulls the sea and makes the tide. Fish swim.",
    "docs/moon.md": "# The moon\n\nThe moon circles the earth. Its pull moves the sea, which makes the tide turn twice a day.",
    "docs/salt.md": "# Salt\n\nSalt comes from the sea. It was once paid as wages. The tide leaves it in shallow pans.",
    "docs/bread.md": "# Bread\n\nBread is baked from flour. Salt makes it better. Yeast makes it rise.",
}
QUESTION = "What is a tide and what makes it turn?"
TASK = f'Message from ada:\n<Question xmlns="urn:organism:payloads"><text>{QUESTION}</text><folder>docs</folder></Question>'

# The names say nothing on purpose: what a tool is for stands in its schema and description.
SEEK = tool("uno", record({"words": listed(STRING), "folder": STRING}), "Searches a folder for words.")
READ = tool("due", record({"question": STRING, "path": STRING}), "Reads a file and takes notes.")
NOTES: dict[str, Any] = {"$defs": {"Note": record({"path": STRING, "text": STRING})}}
EDIT = tool(
    "tre", record({"question": STRING, "notes": listed({"$ref": "#/$defs/Note"})}, **NOTES), "Writes from notes."
)
REPLY = tool("reply", record({"text": STRING, "sources": listed(STRING)}), "Ends your work with your answer.")


def _hits(words: list[str]) -> dict[str, Any]:
    found = [
        {"path": path, "snippet": line}
        for path, text in FILES.items()
        for line in text.splitlines()
        if any(word.casefold() in line.casefold() for word in words)
    ]
    return {"Found": {"hits": found}}


def desk(call: ToolCall) -> str:
    """The people around the desk: a searcher, a reader, an editor."""
    given = json.loads(call.arguments)
    match call.name:
        case "uno":
            return json.dumps(_hits(given["words"]))
        case "due":
            return json.dumps({"Note": {"path": given["path"], "text": sentences(FILES[given["path"]])[1]}})
        case _:
            return json.dumps(
                {"Answer": {"text": " ".join(note["text"] for note in given["notes"]), "sources": ["edited"]}}
            )


def test_a_desk_searches_reads_gathers_and_answers() -> None:
    played = play(TASK, [REPLY, EDIT, READ, SEEK], desk)
    assert played.replied
    names = [name for name, _ in played.calls]
    assert names == ["uno", *["due"] * (names.count("due")), "tre", "reply"]
    assert names.count("due") >= 2
    assert played.calls[0][1]["folder"] == "docs"
    assert [word.casefold() for word in played.calls[0][1]["words"]] == ["tide", "turn"]
    read = [made["path"] for name, made in played.calls if name == "due"]
    assert len(set(read)) == len(read)
    assert set(read) <= FILES.keys() - {"docs/bread.md"}
    assert all(made["question"] == QUESTION for name, made in played.calls if name == "due")
    gathered = next(made for name, made in played.calls if name == "tre")
    assert {note["path"] for note in gathered["notes"]} == set(read)
    answer = played.calls[-1][1]
    assert "A tide is the rise and fall of the sea." in answer["text"]


def test_several_calls_of_one_turn_go_out_together() -> None:
    played = play(TASK, [REPLY, READ, SEEK], desk)
    assert max(len(answered.tool_calls) for answered in played.answers) >= 2
    assert len({call.id for answered in played.answers for call in answered.tool_calls}) == len(played.calls)


def test_an_answer_quotes_real_sentences_and_names_where_they_stand() -> None:
    played = play(TASK, [REPLY, READ, SEEK], desk)
    answer = played.calls[-1][1]
    known = [sentence for text in FILES.values() for sentence in sentences(text)]
    assert sum(sentence in answer["text"] for sentence in known) >= 2
    rest = answer["text"]
    for sentence in known:
        rest = rest.replace(sentence, "")
    assert rest.strip() == ""
    assert set(answer["sources"]) <= FILES.keys()
    for source in answer["sources"]:
        assert any(sentence in answer["text"] for sentence in sentences(FILES[source]))


def test_verbosity_scales_what_is_read_and_written() -> None:
    quiet = play(TASK, [REPLY, READ, SEEK], desk, options=Options(verbosity=0.3))
    usual = play(TASK, [REPLY, READ, SEEK], desk)
    assert quiet.replied
    assert len(quiet.calls) < len(usual.calls)
    assert len(quiet.calls[-1][1]["text"]) < len(usual.calls[-1][1]["text"])


def test_reasoning_effort_scales_it_too() -> None:
    low = play(TASK, [REPLY, READ, SEEK], desk, reasoning_effort="low")
    high = play(TASK, [REPLY, READ, SEEK], desk, reasoning_effort="high")
    assert len(low.calls) < len(high.calls)


def test_no_call_is_made_twice_with_equal_arguments() -> None:
    played = play(TASK, [REPLY, EDIT, READ, SEEK], desk, options=Options(verbosity=5))
    made = [(name, json.dumps(given, sort_keys=True)) for name, given in played.calls]
    assert len(set(made)) == len(made)


@pytest.mark.parametrize(
    "failure",
    [
        '{"HandlerFailed": {"code": "crashed", "text": "KeyError", "retry": false}}',
        '<InvalidPayload xmlns="urn:organism:primitives:1"><error>words: is required</error><attempt>1</attempt></InvalidPayload>',
        '{"error": "no such folder"}',
        "Error: connection refused",
    ],
)
def test_failures_are_neither_repeated_for_ever_nor_quoted(failure: str) -> None:
    played = play(TASK, [REPLY, READ, SEEK], lambda _: failure)
    assert played.replied
    assert 1 <= sum(name == "uno" for name, _ in played.calls) <= 2
    answer = played.calls[-1][1]
    assert answer["sources"] == []
    assert not any(word in answer["text"] for word in ("KeyError", "required", "folder", "refused"))


def test_a_search_that_finds_nothing_is_tried_in_other_words() -> None:
    played = play(TASK, [REPLY, READ, SEEK], lambda _: "")
    searches = [given["words"] for name, given in played.calls if name == "uno"]
    assert len(searches) == 2
    assert searches[0] == ["tide", "turn"] or len(searches[1]) < len(searches[0])
    assert played.replied


def test_an_exhausted_peer_is_left_alone() -> None:
    def respond(call: ToolCall) -> str:
        exhausted = '{"HandlerFailed": {"code": "exhausted", "text": "tokens of the thread", "retry": false}}'
        return exhausted if call.name == "due" else desk(call)

    played = play(TASK, [REPLY, READ, SEEK], respond, options=Options(verbosity=3))
    turns = [[call.name for call in answered.tool_calls] for answered in played.answers]
    assert sum("due" in names for names in turns) == 1
    assert played.replied


def test_an_answer_that_is_refused_is_given_again_and_at_last_in_text() -> None:
    refusal = '{"InvalidPayload": {"error": "text: is too short", "attempt": 1}}'
    played = play(TASK, [REPLY, SEEK], desk, accept=lambda _: refusal, turns=12)
    assert not played.replied
    names = [[call.name for call in answered.tool_calls] for answered in played.answers]
    assert names[0] == ["uno"]
    assert 3 <= names.count(["reply"]) <= 8
    assert names[-1] == []
    assert played.answers[-1].text


def test_a_payload_is_passed_on_by_its_fields() -> None:
    shout = tool("vier", record({"name": STRING}), "Says it loudly.")
    reply = tool("reply", record({"text": STRING}))
    task = '<Greeting xmlns="urn:organism:payloads"><name>Ada</name></Greeting>'
    played = play(task, [shout, reply], lambda _: '<Shouted xmlns="urn:organism:payloads"><text>ADA</text></Shouted>')
    assert played.calls == [("vier", {"name": "Ada"}), ("reply", {"text": "ADA"})]


def test_a_reader_quotes_the_text_that_it_was_given() -> None:
    task = json.dumps({"Passage": {"question": QUESTION, "path": "docs/tides.md", "text": FILES["docs/tides.md"]}})
    reply = tool("reply", record({"path": STRING, "text": STRING, "found": {"type": "boolean"}}))
    made = arguments(ask(user(task), tools=[reply]))
    assert made["path"] == "docs/tides.md"
    assert made["text"].startswith("A tide is the rise and fall of the sea.")
    assert made["found"] is True


def test_where_nothing_is_found_it_says_so() -> None:
    reply = tool("reply", record({"text": STRING, "found": {"type": "boolean"}, "missing": {"type": "boolean"}}))
    made = arguments(ask(user(f"<Question><text>{QUESTION}</text></Question>"), tools=[reply]))
    assert QUESTION in made["text"]
    assert made["found"] is False
    assert made["missing"] is True


def test_of_several_replies_the_one_that_fits_is_given() -> None:
    answer = tool("reply_Answer", record({"text": STRING, "sources": listed(STRING)}))
    failure = tool("reply_NotFound", record({"reason": STRING}), "Nothing was found: the question stays unanswered.")
    assert play(TASK, [failure, answer, SEEK], desk).calls[-1][0] == "reply_Answer"
    assert play(TASK, [answer, failure, SEEK], lambda _: "").calls[-1][0] == "reply_NotFound"


@pytest.mark.parametrize("choice", ["auto", "required", "reply"])
def test_with_the_reply_tool_alone_it_replies(choice: str) -> None:
    response = ask(user(TASK), tools=[REPLY], tool_choice=choice)
    assert [call.name for call in response.tool_calls] == ["reply"]
    assert response.finish_reason == "tool_calls"


def test_a_named_tool_is_called_and_none_is_none() -> None:
    assert [call.name for call in ask(user(TASK), tools=[REPLY, READ, SEEK], tool_choice="due").tool_calls] == ["due"]
    silent = ask(user(TASK), tools=[REPLY, SEEK], tool_choice="none")
    assert silent.tool_calls == ()
    assert silent.text


def test_required_without_a_reply_tool_calls_something_every_time() -> None:
    messages: list[Any] = [user(TASK)]
    for _ in range(4):
        response = ask(*messages, tools=[SEEK], tool_choice="required")
        assert response.tool_calls
        messages.append(response.message)
        messages.extend(
            {"role": "tool", "tool_call_id": call.id, "content": desk(call)} for call in response.tool_calls
        )


def test_tools_without_a_reply_tool_end_in_text() -> None:
    played = play(TASK, [SEEK, READ], desk, turns=4)
    last = played.answers[-1]
    assert last.tool_calls == ()
    assert "A tide is the rise and fall of the sea." in last.text


def test_a_second_question_of_a_conversation_is_searched_anew() -> None:
    first = ask(user(TASK), tools=[SEEK, REPLY])
    later = [
        user(TASK),
        first.message,
        {"role": "tool", "tool_call_id": first.tool_calls[0].id, "content": desk(first.tool_calls[0])},
        {"role": "assistant", "content": "A tide is the rise and fall of the sea."},
        user("<Question><text>Where does salt come from?</text><folder>docs</folder></Question>"),
    ]
    second = ask(*later, tools=[SEEK, REPLY])
    assert [call.name for call in second.tool_calls] == ["uno"]
    assert "salt" in arguments(second)["words"]


def test_plain_text_is_an_extract() -> None:
    text = one_line(FILES["docs/tides.md"].partition("\n\n")[2])
    response = ask({"role": "system", "content": "Be brief."}, user(f"{text}\n\nWhat pulls the sea?"))
    assert response.text.startswith("The moon pulls the sea and makes the tide.")
    assert "Fish swim." not in response.text
    assert response.finish_reason == "stop"
    assert response.message == {"role": "assistant", "content": response.text}


def test_a_text_stops_at_its_limit() -> None:
    text = " ".join(FILES.values())
    whole = ask(user(f"{text}\n\nWhat makes the tide turn?"))
    cut = ask(user(f"{text}\n\nWhat makes the tide turn?"), max_output_tokens=7)
    assert whole.finish_reason == "stop"
    assert cut.finish_reason == "length"
    assert whole.text.startswith(cut.text)
    assert cut.usage is not None
    assert cut.usage.output_tokens == 7


def test_what_was_found_is_said_along_with_further_calls() -> None:
    played = play(TASK, [REPLY, READ, SEEK], desk)
    between = [answered.text for answered in played.answers[1:-1]]
    assert between
    assert all(any(sentence in text for file in FILES.values() for sentence in sentences(file)) for text in between)


def test_whoever_has_agreed_without_a_word_is_not_asked_again() -> None:
    look = tool("uno", record({"topic": STRING}), "Finds facts.")
    agree = tool("due", record({"text": STRING}), "Decides whether a text may go out.")
    said = {
        "uno": {"Findings": {"facts": ["The moon makes the tide."]}},
        "due": {"Approval": {"approved": True, "note": ""}},
    }
    task = f"<Topic><question>{QUESTION}</question></Topic>"
    played = play(task, [REPLY, agree, look], lambda call: json.dumps(said[call.name]))
    assert [name for name, _ in played.calls] == ["uno", "due", "reply"]
    assert [made["text"] for _, made in played.calls[1:]] == ["The moon makes the tide."] * 2
