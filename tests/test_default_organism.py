"""The default organism, the reading desk: it answers from real text, is warned, and hands in what it has."""

from __future__ import annotations

import io
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from organism import HandlerFailedError
from organism.cli.main import execute
from organism.cli.streams import Streams
from organism.record.facts import Asked
from organism.testing import Watched, running

if TYPE_CHECKING:
    from organism import ThreadResult

ROOT: Final = Path(__file__).parent.parent
FILE: Final = ROOT / "organism.yaml"
UNWARNED: Final = {"budget__warn_at": [], "budget__runway": 0}
QUESTIONS: Final = (
    "What is a frame?",
    "Why do handlers not call each other?",
    "What happens when a thread is exhausted?",
    "How are parallel calls kept from overrunning a budget?",
    "Can a model forge a sender?",
    "Is the simulated model good for judging prompts?",
)


@pytest.fixture(autouse=True)
def _nothing_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings of whoever runs the tests do not count, and nothing is left in the repository."""
    for name in [name for name in os.environ if name.startswith("ORGANISM_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ORGANISM_JOURNAL", "memory:")


async def asked(question: Any = None, **over: Any) -> tuple[ThreadResult, Watched]:
    """How a question to the desk ends (the file's own where there is none), with keys of the file changed."""
    organism = Watched.load(FILE, set={key.replace("__", "."): value for key, value in over.items()})
    async with running(organism):
        payload = organism.settings.start[0].payload if question is None else question
        result = await (await organism.send("desk", payload)).result()
    return result, organism


def question(text: str, folder: str = "explanation") -> Any:
    from handlers.desk import Question

    return Question(text, folder)


def words(text: str) -> str:
    return " ".join(text.split())


def opened(organism: Watched) -> int:
    """How often readers opened a section or looked at the contents of a file."""
    return sum(fact.to == "shelf" for fact in organism.watch.of(Asked))


def sentences(text: str) -> list[str]:
    return [part for part in re.split(r"(?<=[.!?])\s+", text) if len(part) > 20 and "…" not in part]


@pytest.mark.by_turns
async def test_the_answer_stands_in_its_sources() -> None:
    result, _ = await asked()
    assert result.outcome == "completed"
    sources = [words((ROOT / "docs" / source).read_text("utf-8")) for source in result.reply.sources]
    assert sources
    said = sentences(words(result.reply.text))
    assert said
    assert [sentence for sentence in said if not any(sentence in source for source in sources)] == []
    assert "grace" in result.reply.text


@pytest.mark.parametrize("text", QUESTIONS)
@pytest.mark.by_turns
async def test_any_question_is_answered_from_the_text(text: str) -> None:
    result, _ = await asked(question(text))
    assert result.outcome == "completed", result.error
    whole = words(" ".join(path.read_text("utf-8") for path in sorted((ROOT / "docs/explanation").glob("*.md"))))
    said = sentences(words(result.reply.text))
    assert said
    assert [sentence for sentence in said if sentence not in whole] == []
    assert all((ROOT / "docs" / source).is_file() for source in result.reply.sources)


async def test_readers_that_are_warned_open_less_and_spend_less() -> None:
    warned, busy = await asked()
    unwarned, calm = await asked(**UNWARNED)
    told = [each for each in warned.warnings if each.scope == "sub-thread"]
    assert [(each.to, each.level, each.unit) for each in told] == [("reader", "warning", "tokens")] * 3
    assert unwarned.warnings == ()
    assert {each.outcome for each in (warned, *warned.threads, unwarned, *unwarned.threads)} == {"completed"}
    # Once for the contents of its file, and then two sections in place of three.
    assert (opened(busy), opened(calm)) == (9, 12)
    assert warned.usage.messages == unwarned.usage.messages - 3
    assert warned.usage.tokens < unwarned.usage.tokens
    assert warned.reply == unwarned.reply


async def test_a_model_that_heeds_nothing_is_warned_for_nothing() -> None:
    backend = {"provider": "simulated", "model": "sim-1", "options": {"obedience": 0}}
    result, organism = await asked(models={"default": {"backends": [backend]}})
    assert len([each for each in result.warnings if each.scope == "sub-thread"]) == 3
    assert opened(organism) == 12


@pytest.mark.parametrize("tokens", [200, 500, 1500, 3000, 5000, 8000, 12000])
@pytest.mark.by_turns
async def test_a_desk_that_cannot_pay_hands_in_what_it_has(tokens: int) -> None:
    result, _ = await asked(question(QUESTIONS[2]), budget__tokens=tokens)
    assert result.outcome == "exhausted"
    assert result.usage.tokens <= tokens
    assert {each.level for each in result.warnings} >= {"final"}, "nobody is refused before every level has fired"
    if tokens >= 1500:
        assert result.reply is not None


@pytest.mark.by_turns
async def test_nothing_in_it_needs_a_limit() -> None:
    result, _ = await asked(budget__tokens=None, handlers__reader__budget=None)
    assert result.outcome == "completed"


def typed(*arguments: str) -> tuple[int, str, str]:
    """What the command line gives: the exit code, standard output and standard error."""
    out, err = io.StringIO(), io.StringIO()
    return execute(list(arguments), Streams(out, err, io.StringIO())), out.getvalue(), err.getvalue()


def test_run_answers_and_says_what_is_simulated() -> None:
    code, out, err = typed("run", str(FILE))
    assert code == 0
    assert out.startswith("desk: Answer\n")
    assert "explanation/warnings-and-grace.md" in out
    assert "'default' is simulated" in err
    assert len(re.findall(r"budget warning: reader: tokens warning, .* of the sub-thread", err)) == 3


def test_run_with_too_little_exits_with_three() -> None:
    sent = ("--to", "desk", "--send", "What happens when a thread is exhausted?")
    code, out, _ = typed("run", str(FILE), *sent, "--set", "budget.tokens=3000", "--json")
    result = json.loads(out)
    assert code == 3
    assert (result["outcome"], result["unit"]) == ("exhausted", "tokens")
    (reply,) = result["replies"]
    assert reply["from"] == "desk"
    assert reply["payload"]["Answer"]["sources"]


def test_the_same_file_goes_to_a_real_model() -> None:
    backend = "models.default.backends.0"
    over = ("provider=openai", "model=some-model", "base_url=http://localhost:11434/v1", "api_key_env=null")
    code, out, _ = typed("check", str(FILE), *(word for key in over for word in ("--set", f"{backend}.{key}")))
    assert code == 0
    assert "openai/some-model at http://localhost:11434/v1" in out
    assert "simulated" not in out


# The librarian and the shelf


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A folder of texts, with something beside it that is nobody's business."""
    root = tmp_path / "texts"
    (root / "birds").mkdir(parents=True)
    (tmp_path / "secret.md").write_text("# Secret\n\nThe kiwi of the vault is number 42.\n")
    (root / "birds" / "kiwi.md").write_text(
        "# The kiwi\n\nThe kiwi is a bird of New Zealand that cannot fly. It is active at night.\n\n"
        "```\nkiwi kiwi kiwi\n```\n\n## Eggs\n\nThe egg of a kiwi weighs a fifth of the bird.\n"
    )
    (root / "birds" / "swift.txt").write_text("The swift sleeps in the air. It seldom sits.\n")
    (root / "birds" / "notes.json").write_text('{"kiwi": "not prose"}')
    (root / "out.md").symlink_to(tmp_path / "secret.md")
    return root


def at(root: Path) -> dict[str, Any]:
    return {f"handlers.{name}.options.root": str(root) for name in ("librarian", "shelf")}


async def heard(root: Path, to: str, payload: Any) -> Any:
    async with running(Watched.load(FILE, set=at(root))) as organism:
        return await organism.ask(to, payload)


async def test_texts_of_ones_own_are_read(library: Path) -> None:
    result, _ = await asked(
        question("What does the egg of a kiwi weigh?", "."),
        **{key.replace(".", "__"): value for key, value in at(library).items()},
    )
    assert result.outcome == "completed"
    assert "The egg of a kiwi weighs a fifth of the bird." in result.reply.text
    assert result.reply.sources == ("birds/kiwi.md",)


async def test_a_search_finds_prose_and_nothing_else(library: Path) -> None:
    from handlers.desk import Search

    found = await heard(library, "librarian", Search("the swift in the air, or a kiwi", "birds"))
    assert [match.path for match in found.files] == ["birds/swift.txt", "birds/kiwi.md"]
    assert found.files[0].excerpt == "The swift sleeps in the air."
    assert (await heard(library, "librarian", Search("submarines", "."))).files == ()
    assert len((await heard(library, "librarian", Search("kiwi air", ".", 1))).files) == 1


async def test_a_section_is_opened_without_its_code(library: Path) -> None:
    from handlers.desk import Browse, Open

    contents = await heard(library, "shelf", Browse("birds/kiwi.md", "eggs"))
    assert [entry.section for entry in contents.sections] == ["The kiwi", "Eggs"]
    section = await heard(library, "shelf", Open("birds/kiwi.md", "The kiwi"))
    assert section.text.startswith("The kiwi is a bird")
    assert "kiwi kiwi" not in section.text


async def test_a_long_section_is_cut_into_portions(library: Path) -> None:
    from handlers.desk import Browse, Open

    (library / "long.md").write_text("# Long\n\n" + "\n\n".join(f"Paragraph {n} is here. " * 40 for n in range(9)))
    contents = await heard(library, "shelf", Browse("long.md", "paragraph"))
    names = [entry.section for entry in contents.sections]
    assert names[:2] == ["Long", "Long (2)"]
    texts = [(await heard(library, "shelf", Open("long.md", name))).text for name in names]
    assert all(len(text) < 3000 for text in texts)
    assert words(" ".join(texts)) == words("\n\n".join(f"Paragraph {n} is here. " * 40 for n in range(9)))


@pytest.mark.parametrize("folder", ["..", "../..", "/", "birds/../..", "nowhere", "birds/kiwi.md", "out.md"])
@pytest.mark.by_turns
async def test_a_search_never_leaves_the_root(library: Path, folder: str) -> None:
    from handlers.desk import Search

    with pytest.raises(HandlerFailedError) as caught:
        await heard(library, "librarian", Search("kiwi", folder))
    assert caught.value.code == "refused"
    assert "vault" not in str(caught.value)


@pytest.mark.parametrize("path", ["../secret.md", "out.md", "/etc/hostname", "birds", "birds/notes.json", "nothing.md"])
@pytest.mark.by_turns
async def test_the_shelf_opens_nothing_outside_of_the_root(library: Path, path: str) -> None:
    from handlers.desk import Browse, Open, Search

    for payload in (Browse(path, "kiwi"), Open(path, "Secret")):
        with pytest.raises(HandlerFailedError, match=r"outside of the library|there is no text"):
            await heard(library, "shelf", payload)
    found = await heard(library, "librarian", Search("kiwi vault", "."))
    assert [match.path for match in found.files] == ["birds/kiwi.md"]


async def test_a_section_that_is_not_there_is_told_with_those_that_are(library: Path) -> None:
    from handlers.desk import Open

    with pytest.raises(HandlerFailedError, match="has no section 'Wings'; it has: The kiwi, Eggs"):
        await heard(library, "shelf", Open("birds/kiwi.md", "Wings"))
