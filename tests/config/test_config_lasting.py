"""What outlives a process, in organism.yaml: the ceiling's window, conversations, the journal, and what handlers touch."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, get_args

import pytest

from organism import config
from organism.errors import ConfigurationError
from organism.settings import BudgetSettings, ConversationSettings, Limits, Quota, WindowKind

if TYPE_CHECKING:
    from tests.config.conftest import Project

HEAD = "organism: demo\n"
HANDLERS = """
organism: demo
handlers:
  look: {code: desk:look}
  pure: {code: desk:look, effects: context}
  writer: {description: x, agent: {accepts: desk:Answer, replies: desk:Answer}}
  toucher: {description: x, agent: {accepts: desk:Answer, replies: desk:Answer}, effects: world}
"""


@pytest.mark.parametrize("window", get_args(WindowKind))
def test_a_ceiling_counts_over_its_window(project: Project, window: WindowKind) -> None:
    settings = project.load(f"{HEAD}ceiling: {{cost_usd: 20, window: {window}}}\n")
    assert settings.ceiling == Quota(limits=Limits(cost_usd=Decimal(20)), window=window)


def test_a_ceiling_without_a_window_counts_over_the_run(project: Project) -> None:
    assert project.load(f"{HEAD}ceiling: {{seconds: 60, depth: 9}}\n").ceiling == Quota(
        limits=Limits(seconds=60.0, depth=9), window="run"
    )


ACCOUNTS = """
accounts:
  tenant: {cost_usd: 5, window: day}
  "tenant:acme": {cost_usd: 50.5, tokens: 1000, window: month}
  team: {}
"""


def test_accounts_have_quotas_by_name_and_templates_by_kind(project: Project) -> None:
    settings = project.load(f"{HEAD}{ACCOUNTS}")
    assert settings.accounts == {
        "tenant": Quota(limits=Limits(cost_usd=Decimal(5)), window="day"),
        "tenant:acme": Quota(limits=Limits(cost_usd=Decimal("50.5"), tokens=1000), window="month"),
        "team": Quota(),
    }
    assert settings.limits_cost
    assert config.account_names({"tenant": "new", "team": "a b"}, settings) == ("team:a b", "tenant:new")
    assert config.account_names(None, settings) == ()


def test_an_accounts_limit_is_set_over_the_file(project: Project) -> None:
    settings = project.load(
        f"{HEAD}{ACCOUNTS}", set={"accounts.tenant:acme.tokens": "7", "accounts.team.messages": "3"}
    )
    assert settings.accounts["tenant:acme"].limits.tokens == 7
    assert settings.accounts["team"].limits.messages == 3


@pytest.mark.parametrize(
    ("text", "forgets"),
    [
        ("ceiling: {cost_usd: 20, window: day}\n", "ceiling"),
        (ACCOUNTS, "accounts.tenant, accounts.tenant:acme"),
        ("ceiling: {tokens: 5, window: total}\naccounts: {a: {window: hour}, b: {window: day}, c: {window: day}}\n",
         "ceiling, accounts.a, accounts.b and 1 more"),
        ("ceiling: {cost_usd: 20, window: run}\naccounts: {team: {tokens: 5}}\n", ""),
        ("ceiling: {cost_usd: 20}\n", ""),
        ("journal: sqlite:o.db\nceiling: {cost_usd: 20, window: day}\n", ""),
    ],
)  # fmt: skip
def test_what_a_day_has_spent_is_not_known_to_the_next_process_without_a_journal(
    project: Project, text: str, forgets: str
) -> None:
    lines = [each for each in project.load(HEAD + text).notes if "forgotten" in each]
    said = (
        "what was spent is forgotten when the process ends, since journal 'memory:' keeps nothing; name one that lasts"
    )
    assert lines == ([f"{forgets}: {said}, as in 'journal: sqlite:organism.db'"] if forgets else [])


def test_every_mistake_in_accounts_is_told_with_its_place(project: Project) -> None:
    text = f"""{HEAD}accounts:
  Tenant: {{cost_usd: 5}}
  "tenant:": {{cost_usd: 5}}
  team: {{seconds: 5, depth: 3, window: week, tokens: -1, warn_at: []}}
"""
    with pytest.raises(ConfigurationError) as caught:
        project.load(text)
    said = "\n".join(caught.value.mistakes)
    assert "2:3" in said or "3:3" in said
    for each in (
        "'Tenant' is not a valid kind of account",
        "an account is named KIND:NAME, and its name is empty",
        "accounts.team.seconds: is of one thread, or of one run of the organism: accounts have no limit of it",
        "accounts.team.depth: is of one thread",
        "accounts.team.window: ",
        "accounts.team.tokens: ",
        "accounts.team.warn_at: unknown key here",
    ):
        assert each in said, said
    assert len(caught.value.mistakes) == 7


def test_seconds_and_depth_that_are_not_limited_go_with_any_window(project: Project) -> None:
    ceiling = project.load(f"{HEAD}ceiling: {{seconds: null, depth: null, tokens: 5, window: month}}\n").ceiling
    assert ceiling == Quota(limits=Limits(tokens=5), window="month")


CEILINGS = [
    ("{window: week}", ["2:19 ceiling.window: 'week' is not 'run', 'hour', 'day', 'month' or 'total'"]),
    ("{window: days}", ["2:19 ceiling.window: 'days' is not 'run', 'hour', 'day', 'month' or 'total'; did you mean 'day'?"]),
    ("{window: null}", ["2:19 ceiling.window: has no value: give 'run', 'hour', 'day', 'month' or 'total', or leave the key out"]),
    ("{seconds: 60, window: hour}", [
        "2:20 ceiling.seconds: is of one run, and the window is 'hour': leave it out, or say 'window: run'"
    ]),
    ("{depth: 0, seconds: 1, window: total, tokens: -1}", [
        "2:18 ceiling.depth: is of one run, and the window is 'total': leave it out, or say 'window: run'",
        "2:30 ceiling.seconds: is of one run, and the window is 'total': leave it out, or say 'window: run'",
        "2:56 ceiling.tokens: -1 is negative; 0 allows nothing, null sets no limit",
    ]),
]  # fmt: skip


@pytest.mark.parametrize(("ceiling", "mistakes"), CEILINGS)
def test_what_is_wrong_with_a_ceiling(project: Project, ceiling: str, mistakes: list[str]) -> None:
    assert project.mistakes(f"{HEAD}ceiling: {ceiling}\n") == [f"organism.yaml:{line}" for line in mistakes]


def test_a_window_that_is_set_is_held_against_the_seconds_of_the_file(project: Project) -> None:
    assert project.mistakes(f"{HEAD}ceiling: {{seconds: 5}}\n", set={"ceiling.window": "day"}) == [
        "organism.yaml:2:20 ceiling.seconds: is of one run, and the window is 'day': leave it out, or say 'window: run'"
    ]


def test_a_conversation_of_which_nothing_is_said_has_no_limits(project: Project) -> None:
    nothing = ConversationSettings(budget=BudgetSettings(), on_cap="end")
    assert project.load(HEAD).conversation == nothing
    assert project.load(f"{HEAD}conversation: {{}}\n").conversation == nothing


def test_a_conversation_has_limits_and_a_policy_of_its_own(project: Project) -> None:
    conversation = project.load(
        f"{HEAD}conversation: {{messages: 9, seconds: 5, runway: 0, accounting: strict, on_cap: rotate}}\n"
    ).conversation
    assert conversation.budget == BudgetSettings(
        limits=Limits(messages=9, seconds=5.0), runway=Decimal(0), accounting="strict"
    )
    assert conversation.on_cap == "rotate"


def test_a_conversation_that_limits_money_needs_prices(project: Project) -> None:
    assert not project.load(f"{HEAD}conversation: {{tokens: 5}}\n").limits_cost
    assert project.load(f"{HEAD}conversation: {{cost_usd: 5}}\n").limits_cost


CONVERSATIONS = [
    ("{on_cap: stop}", ["2:24 conversation.on_cap: 'stop' is not 'end' or 'rotate'"]),
    ("{depth: 5}", ["2:16 conversation.depth: depth is of one turn: write it in 'budget'"]),
    ("{grants_by: boss}", ["2:27 conversation.grants_by: 'boss' is not a handler; add it to 'handlers'"]),
    ("{window: day}", ["2:16 conversation.window: unknown key here; it belongs in 'ceiling' or 'accounts.NAME'"]),
    ("[]", ["2:15 conversation: must be a mapping of keys and not a list"]),
]


@pytest.mark.parametrize(("conversation", "mistakes"), CONVERSATIONS)
def test_what_is_wrong_with_conversations(project: Project, conversation: str, mistakes: list[str]) -> None:
    found = project.mistakes(f"{HEAD}conversation: {conversation}\n")
    assert found == [f"organism.yaml:{line}" for line in mistakes]


def test_code_touches_the_world_and_agents_their_context_unless_they_say_otherwise(project: Project) -> None:
    effects = {name: handler.effects for name, handler in project.load(HANDLERS).handlers.items()}
    assert effects == {"look": "world", "pure": "context", "writer": "context", "toucher": "world"}


def test_effects_may_be_the_same_for_all(project: Project) -> None:
    settings = project.load(f"defaults: {{effects: context}}{HANDLERS}")
    assert {name: handler.effects for name, handler in settings.handlers.items()} == {
        "look": "context", "pure": "context", "writer": "context", "toucher": "world",
    }  # fmt: skip


def test_durability(project: Project) -> None:
    assert project.load(HEAD).durability == "full"
    assert project.load(f"{HEAD}durability: normal\n").durability == "normal"
    assert project.mistakes(f"{HEAD}durability: none\n") == [
        "organism.yaml:2:13 durability: 'none' is not 'full' or 'normal'"
    ]


@pytest.mark.parametrize(
    "url", ["memory:", "sqlite:organism.db", "sqlite:/var/lib/o.db", "jsonl:journal", "jsonl:a b/c:d"]
)
def test_a_journal_is_kept_as_it_was_written(project: Project, url: str) -> None:
    settings = project.load(f"{HEAD}journal: '{url}'\n")
    assert (settings.journal, settings.folder) == (url, project.folder)


def test_without_a_journal_facts_are_kept_in_memory(project: Project) -> None:
    assert project.load(HEAD).journal == "memory:"


KINDS = "use 'memory:', 'sqlite:PATH' or 'jsonl:DIR'"
JOURNALS = [
    ("sqlite", "'sqlite' is not a journal; did you mean 'sqlite:'?; " + KINDS),
    ("postgres://db", "'postgres://db' is not a journal; " + KINDS),
    ("organism.db", "'organism.db' is not a journal; " + KINDS),
    ("sqlite:", "'sqlite:' names no path: write it as in 'sqlite:organism.db'"),
    ("jsonl: ", "'jsonl: ' names no path: write it as in 'jsonl:journal'"),
    ("memory:x", "'memory:x' names a path, and memory has none: use 'memory:'"),
    ("sqlite::memory:", "'sqlite::memory:' would keep nothing: use 'memory:'"),
    ("sqlite:///o.db", "'sqlite:///o.db' may mean two paths: write 'sqlite:o.db' or 'sqlite:/o.db'"),
    ("sqlite://", "'sqlite://' may mean two paths: write 'sqlite:organism.db'"),
    ("jsonl:a\0b", "'jsonl:a\\x00b' holds a zero byte, which no path can"),
    ("sqlite:there", "'sqlite:there' is a folder, and this journal is one file: name a file in it, as in 'sqlite:there/organism.db'"),
    ("jsonl:desk.py", "'jsonl:desk.py' is a file, and this journal is a folder: name one, as in 'jsonl:journal'"),
    ("", "is an empty text: give a journal, as in 'sqlite:organism.db', or leave the key out"),
]  # fmt: skip


@pytest.mark.parametrize(("url", "problem"), JOURNALS)
def test_what_is_wrong_with_a_journal(project: Project, url: str, problem: str) -> None:
    (project.folder / "there").mkdir()
    assert project.mistakes(HEAD, set={"journal": url}) == [f"--set journal: {problem}"]


def test_a_journal_of_keyword_arguments_is_checked_too() -> None:
    assert config.build({"organism": "demo", "journal": "jsonl:journal"}).journal == "jsonl:journal"
    with pytest.raises(ConfigurationError, match=r"journal=.*is not a journal"):
        config.build({"organism": "demo", "journal": "file:journal"})
