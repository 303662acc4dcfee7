"""What a kernel's budgets should stand at, by a bookkeeping of its own: it reads what was recorded, and judges each entry by the
rules (R12, R14, R15, R18, R19), as plainly as can be. None of its figures comes from the kernel.

Every charge is kept as it was made; what a node has spent is the sum of those that count there.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from attrs import evolve, frozen

from organism.record import facts
from organism.settings import Policy, Quota
from organism.usage import Spending
from tests.budget.naive_budget import UNITS, Amounts, Naive, Purse, Wanting, nothing
from tests.kernel.budget_pockets import (
    POOLS,
    Entry,
    Held,
    Opened,
    Pocket,
    add,
    amounts_of,
    inner,
    is_reached,
    summed,
    window_at,
)  # fmt: skip

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from organism.budget.claims import Charge
    from organism.record.facts import Fact
    from organism.settings import BudgetSettings, Limits, Settings

CALLING: Final = {"ingress", "send", "ask", "spawn", "forward", "reply"}
"""What brings messages that count; the organism's own do not (R11)."""


class Books:
    """The books of one organism over all its processes. ``stuck`` gives what a delivery's own streams keep from its calls at a node."""

    def __init__(self, settings: Settings, patience: int, stuck: Callable[[Any, Purse], list[Amounts]]) -> None:
        self.settings = settings
        self.naive = _Naive(patience, stuck)
        policy = settings.budget.policy(Policy())
        self.root = self._pocket("", "organism", settings.ceiling.limits, policy, (), kind=settings.ceiling.window)
        self.pockets: dict[str, Pocket] = {"": self.root}
        self.threads: dict[str, Opened] = {}
        self.conversations: dict[str, tuple[str, ...]] = {}
        self.holds: dict[tuple[str, int], Held] = {}
        self.entries: list[Entry] = []
        self.expected: dict[tuple[str, int], Charge] = {}
        """What calls that are out have come to, as those say who were called."""
        self.arriving: Wanting | None = None
        self.recovering = False
        self.process = 0
        self.now = 0.0
        self.seen: dict[str, int] = {}
        """How often the rules were put to the test, by what happened."""

    @property
    def waiting(self) -> list[Wanting]:
        """Who waits, the oldest first."""
        return self.naive.waiting

    # Nodes

    def _pocket(
        self,
        name: str,
        scope: str,
        limits: Limits,
        policy: Policy,
        line: tuple[Pocket, ...],
        *,
        kind: str | None = None,
    ) -> Pocket:
        return Pocket(
            name=name, scope=scope, limits=amounts_of(limits), policy=policy, line=line, kind=kind,
            window=window_at(kind, 0.0), share=policy.grace.share, most_tokens=policy.grace.tokens,
            calls=policy.grace.model_calls, keeps_back=scope not in POOLS,
            levels={unit: policy.warn_at.get(unit, ()) for unit in UNITS}, runway=policy.runway,
            above=line[0] if line else None, lasting=scope == "conversation",
        )  # fmt: skip

    def _account(self, name: str) -> Pocket:
        key = f"account:{name}"
        if key not in self.pockets:
            accounts = self.settings.accounts
            quota = accounts.get(name) or accounts.get(name.split(":", maxsplit=1)[0]) or Quota()
            made = self._pocket(key, "account", quota.limits, self.root.policy, (self.root,), kind=quota.window)
            made.window = window_at(made.kind, self.now)
            self.pockets[key] = made
        return self.pockets[key]

    def _open(self, step: facts.ThreadOpened) -> None:
        above = self._above(step)
        owner = None if step.owner is None else self.threads[step.owner[0]]
        policy = step.budget.policy(above[0].policy)
        if above[0].scope == "conversation":  # a turn has levels of its own
            policy = evolve(policy, warn_at={**self.root.policy.warn_at, **(step.budget.warn_at or {})})
        scope = "thread" if owner is None else "sub-thread"
        pocket = self.pockets[step.thread] = self._pocket(step.thread, scope, step.budget.limits, policy, above)
        if owner is not None:
            chain, accounts, root = owner.chain, owner.accounts, owner.root
        elif step.conversation is not None:
            chain, accounts = f"conversation:{step.conversation}", self.conversations[step.conversation]
            root = step.thread
        else:
            chain, accounts, root = step.thread, step.accounts, step.thread
        self.threads[step.thread] = Opened(pocket, chain, step.labels, accounts, root)

    def _above(self, step: facts.ThreadOpened) -> tuple[Pocket, ...]:
        if step.owner is not None:
            return self.threads[step.owner[0]].pocket.nodes
        if step.conversation is not None:
            return self.pockets[f"conversation:{step.conversation}"].nodes
        return (*map(self._account, step.accounts), self.root)

    def _converse(self, step: facts.ConversationOpened) -> None:
        name = f"conversation:{step.conversation}"
        above = (*map(self._account, step.accounts), self.root)
        policy = step.budget.policy(self.root.policy)
        self.pockets[name] = self._pocket(name, "conversation", step.budget.limits, policy, above)
        self.conversations[step.conversation] = step.accounts

    # Time

    def come_to(self, at: float) -> None:
        """It is this instant: windows that are over begin anew."""
        self.now = at
        for pocket in self.pockets.values():
            if pocket.kind is not None and pocket.window != window_at(pocket.kind, at):
                pocket.window = window_at(pocket.kind, at)
                pocket.anew()
                self._saw("roll")

    def restart(self, at: float) -> None:
        """The process has died; another one begins: nobody waits any more, and a count of one process begins anew."""
        self.process += 1
        self.waiting.clear()
        self.expected.clear()
        self.recovering = True
        self.come_to(at)
        for pocket in self.pockets.values():
            if pocket.kind is None:
                continue
            if pocket.kind == "run":
                pocket.anew()
                for held in self.holds.values():
                    if pocket in held.counting():
                        add(pocket.held, held.need)
            # What a level was fired by that is not reached, no sum tells.
            pocket.fired = {(unit, level) for unit, level in pocket.fired if is_reached(pocket, unit, level)}
            pocket.runways = set()

    def restarted(self, fired: Mapping[str, set[tuple[str, Decimal]]], runways: Mapping[str, set[str]]) -> None:
        """All was taken up: what levels of the shared nodes count as fired now. Those that are reached do."""
        self.recovering = False
        for name, levels in fired.items():
            pocket = self.pockets[name]
            assert pocket.fired <= levels, (name, pocket.fired, levels)
            if pocket.kind == "run":
                assert all(is_reached(pocket, unit, level) for unit, level in levels), (name, levels, pocket.used)
            pocket.fired, pocket.runways = set(levels), set(runways[name])

    # Facts

    def apply(self, fact: Fact) -> None:
        """Takes in what was recorded, and judges it."""
        self.come_to(fact.at)
        charged = self._messages(fact)
        match fact:
            case facts.CallHeld():
                self._hold(fact)
            case facts.CallSettled():
                self._same_crossings(fact, self._settle(fact))
            case facts.CallRefused():
                self._refuse(fact)
            case facts.LimitsSet(thread=name, budget=budget):
                self._recap(self.pockets[name], budget)
            case facts.Granted():
                self._grant(fact)
            case facts.Ended():
                self._end(fact)
            case _ if charged:
                self._same_crossings(fact, self._crossed_by(fact, charged))
            case _:
                self._fire(fact)

    def _messages(self, fact: Fact) -> list[Pocket]:
        """The threads in which messages of this fact are charged (R11); whether they may be."""
        charged: list[Pocket] = []
        for step in fact.steps:
            if isinstance(step, facts.ConversationOpened):
                self._converse(step)
            elif isinstance(step, facts.ThreadOpened):
                self._open(step)
            elif isinstance(step, facts.Posted):
                assert step.charged == (step.kind in CALLING), step
                if step.charged:
                    self._charge_message(fact, step)
                    charged.append(self.threads[step.thread].pocket)
        for pocket in {node for each in charged for node in each.nodes}:
            if "messages" in pocket.limits:
                assert pocket.used["messages"] <= pocket.working("messages"), (pocket.name, fact)
        return charged

    def _charge_message(self, fact: Fact, step: facts.Posted) -> None:
        thread = self.threads[step.thread]
        one = {**nothing(), "messages": 1}
        nodes = thread.pocket.nodes
        self.entries.append(Entry(fact.at, self.process, nodes, one, step.to, "", "", thread.labels, thread.accounts))
        thread.pocket.own["messages"] += 1
        for each in nodes:
            each.used["messages"] += 1

    def _crossed_by(self, fact: Fact, charged: list[Pocket]) -> list[tuple[str, str, str]]:
        found: list[tuple[str, str, str]] = []
        first = [] if isinstance(fact, facts.Accepted) else [self.threads[fact.thread].pocket]
        for pocket in [*first, *charged]:
            found += self.naive.crossed(pocket, nothing())
        return found

    def _hold(self, fact: facts.CallHeld) -> None:
        """R12, R13 and R14: it fits on the whole path, and nobody was passed over who may not be."""
        thread = self.threads[fact.thread]
        wanting, waited = self._whose(fact.tags)
        need = dict(zip(UNITS, fact.need, strict=True))
        assert wanting.purse is thread.pocket
        assert need == wanting.need(fact.output), "what is held is what was asked for"
        assert fact.output == wanting.output(), (fact, wanting)
        assert not wanting.short(need), ("it does not fit", fact, wanting.short(need))
        assert not self.naive.bars(wanting), "it passed one who has lost its patience"
        if waited:
            self.waiting.remove(wanting)
            for older in self.waiting:
                if older.number < wanting.number and not older.short(older.least) and not self.naive.never(older):
                    assert self.naive.bars(older) or self.naive.in_vain(older), "an older one was to go first"
        granted = self.naive.grant(wanting)
        assert granted == need
        windows = tuple(each.window for each in thread.pocket.nodes)
        self.holds[thread.chain, fact.hold] = Held(thread.pocket, fact.seq, need, fact.at, windows, fact.streamed, fact)
        self._saw("granted later" if waited else "granted", clamped=fact.output < wanting.claim.wish, grace=fact.grace)

    def _whose(self, tags: tuple[str, ...]) -> tuple[Wanting, bool]:
        """Who asked, known by the tag of its number; whether it has waited."""
        if self.arriving is not None and f"n{self.arriving.number}" in tags:
            return self.arriving, False
        return next(each for each in self.waiting if f"n{each.number}" in tags), True

    def _settle(self, fact: facts.CallSettled) -> list[tuple[str, str, str]]:
        """R18: charged is what the call has come to, in the windows of its hold."""
        thread = self.threads[fact.thread]
        held = self.holds.pop((thread.chain, fact.hold))
        charge = fact.charge
        expected = self.expected.pop((thread.chain, fact.hold), None)
        if expected is None:  # nobody says what it came to: all that was held
            assert charge.estimated
            assert dict(zip(UNITS, charge.amounts, strict=True)) == held.need
            self._saw("charged in full")
        else:
            assert charge == expected
        assert (fact.alias, fact.backend, fact.held_at) == (held.fact.alias, held.fact.backend, held.at)
        amounts = dict(zip(UNITS, charge.amounts, strict=True))
        counting = held.counting()
        for each in counting:
            add(each.held, held.need, -1)
            add(each.used, amounts)
            self._note_overdraft(each, held.need, amounts)
        add(held.pocket.own, amounts)
        self.entries.append(
            Entry(
                held.at, self.process, held.pocket.nodes, amounts, fact.handler, fact.alias, fact.backend,
                thread.labels, thread.accounts, held.fact.tags, charge.estimated,
            )
        )  # fmt: skip
        if len(counting) < len(held.windows):
            self._saw("settled in an old window")
        if held.pocket.ended:
            self._saw("settled after the end")
        path = [each for each in counting if not (each.ended and held.pocket.ended)]
        before = {each: (set(each.fired), set(each.runways)) for each in path if each.kind is not None}
        crossed = self.naive.crossed(_Path(path), amounts)  # type: ignore[arg-type]
        if self.recovering:
            for each, (fired, runways) in before.items():
                each.fired, each.runways = fired, runways
        return crossed

    def _note_overdraft(self, pocket: Pocket, need: Amounts, charge: Amounts) -> None:
        for unit in pocket.limits:
            if charge[unit] > need[unit]:
                over = max(0, pocket.used[unit] + pocket.held[unit] - pocket.limits[unit])
                pocket.overdraft[unit] = max(pocket.overdraft[unit], over)
                pocket.slack[unit] = max(pocket.slack[unit], over)
                if over:
                    self._saw("overdraft")

    def _refuse(self, fact: facts.CallRefused) -> None:
        """R14 and R15: who is refused never goes, or would not wait; and is not refused unwarned."""
        rest = [step for step in fact.steps if isinstance(step, facts.WarningRaised)]
        if fact.alias is not None:
            wanting, waited = self._whose(fact.tags)
            if waited:
                self.waiting.remove(wanting)
                never = self.naive.never(wanting) or self.naive.in_vain(wanting)
                assert never or any(each.streamed for each in self.holds.values()), ("it might have gone", fact)
            lacking = [each for each in _nodes(wanting) if each.scope == fact.scope and fact.unit in each.limits]
            self._saw("refused later" if waited else "refused")
        else:
            path = self.threads[fact.thread].pocket.nodes
            lacking = [each for each in path if each.scope == fact.scope]
        if not rest and fact.unit in UNITS and lacking:
            every = [each for each in lacking if not self._unfired(each, fact.unit)]
            assert every, ("refused unwarned", fact)
        self._fire(fact)
        if rest:
            assert {step.unit for step in rest} == {fact.unit}
            assert len({step.node for step in rest}) == 1
            assert not self._unfired(self.pockets[rest[0].node], fact.unit)

    def _unfired(self, pocket: Pocket, unit: str) -> list[Decimal]:
        return [level for _, _, level in pocket.marks(unit) if (unit, level) not in pocket.fired]

    def _fire(self, fact: Fact) -> None:
        """R15: a level fires once, ascending."""
        last: dict[tuple[str, str], Any] = {}
        for step in fact.steps:
            if not isinstance(step, facts.WarningRaised):
                continue
            pocket = self.pockets[step.node]
            self._saw(f"warned of {step.unit}")
            if step.unit == "seconds":
                assert step.threshold not in pocket.times, "a level of time fired twice"
                pocket.times.add(step.threshold)
                continue
            if step.level == "runway":
                assert step.unit not in pocket.runways or self.recovering, ("a runway fired twice", step)
                pocket.runways.add(step.unit)
                continue
            assert (step.unit, step.threshold) not in pocket.fired, ("a level fired twice", step)
            pocket.fired.add((step.unit, step.threshold))
            at = next(
                at for at, name, level in pocket.marks(step.unit) if (name, level) == (step.level, step.threshold)
            )
            assert last.get((step.node, step.unit), -1) <= at, "levels fire in their order"
            last[step.node, step.unit] = at

    def _same_crossings(self, fact: Fact, expected: list[tuple[str, str, str]]) -> None:
        raised = [step for step in fact.steps if isinstance(step, facts.WarningRaised)]
        if self.recovering:  # what a restart has forgotten of the shared nodes is judged at its end
            self._fire(evolve(fact, steps=tuple(step for step in raised if self.pockets[step.node].kind is not None)))
            raised = [step for step in raised if self.pockets[step.node].kind is None]
            expected = [each for each in expected if self.pockets[each[0]].kind is None]
        found = [(step.node, step.unit, step.level) for step in raised]
        assert found == expected, (fact, found, expected)
        for step in raised:
            self._saw(f"crossed {step.level}")

    def _recap(self, pocket: Pocket, budget: BudgetSettings) -> None:
        self.naive.recap(pocket, amounts_of(budget.limits))
        for unit, limit in pocket.limits.items():
            pocket.slack[unit] = max(0, pocket.used[unit] + pocket.held[unit] - limit)
        pocket.times.clear()

    def _grant(self, fact: facts.Granted) -> None:
        """A grant moves headroom within what those above can bear, and never more than may be granted."""
        pocket, root = self.pockets[fact.node], self.pockets[self.threads[fact.node].root]
        before = dict(pocket.limits)
        self._recap(pocket, fact.budget)
        assert 0 < fact.amount <= fact.asked
        root.granted[fact.unit] = root.granted.get(fact.unit, Decimal(0)) + fact.amount
        up_to = pocket.policy.grants_up_to
        assert up_to is None or root.granted[fact.unit] <= up_to.get(fact.unit, 0)
        if fact.unit in UNITS:
            unit = fact.unit
            assert pocket.limits == {**before, unit: before[unit] + inner(unit, fact.amount)}
            left = pocket.limits[unit] - pocket.used[unit] - pocket.held[unit]
            for above in pocket.line:
                if unit in above.limits:
                    assert left <= above.limits[unit] - above.used[unit] - above.held[unit], "more than there is above"
        self._saw("grant")

    def _end(self, fact: facts.Ended) -> None:
        """R19: a thread's final figures are what it and those below it were charged."""
        pocket = self.threads[fact.thread].pocket
        pocket.ended = True
        for figures, entries in (
            (fact.usage, [each for each in self.entries if pocket in each.nodes]),
            (fact.own, [each for each in self.entries if each.nodes[0] is pocket]),
        ):
            total = summed(each.amounts for each in entries)
            assert figures.cost_usd == Decimal(total.pop("cost_usd")) / 10**12
            assert {unit: getattr(figures, unit) for unit in total} == total, fact
            # Of its own figures is said what is true of all of them.
            assert figures.estimated >= any(each.estimated for each in entries)
        self._saw(f"ended {fact.outcome}")

    # Questions

    def judge(self, wanting: Wanting) -> str:
        """``granted``, ``waits`` or ``refused``: what a call that arrives now is to hear."""
        if self.naive.never(wanting):
            return "refused"
        if wanting.short(wanting.least):
            return "waits"
        if self.naive.bars(wanting):
            self._saw("barred")
            return "refused" if self.naive.in_vain(wanting) else "waits"
        return "granted"

    def spent(self, pocket: Pocket) -> Amounts:
        """R19: what was spent on a node in its window, of all that was ever charged."""
        return summed(
            each.amounts
            for each in self.entries
            if pocket in each.nodes
            and (
                each.process == self.process
                if pocket.kind == "run"
                else window_at(pocket.kind, each.at) == pocket.window
            )
        )

    def totals(self) -> dict[tuple[str, str], Amounts]:
        """R19: by handler, model, backend, label, account and tag, what was spent in all."""
        found: dict[tuple[str, str], Amounts] = {}
        for each in self.entries:
            for name in each.counted_under:
                add(found.setdefault(name, nothing()), each.amounts)
        return found

    def ledger(self) -> list[Spending]:
        """What a journal knows of what was spent."""
        rows: dict[Any, Spending] = {}
        for each in self.entries:
            key = (
                int(each.at // 3600), each.handler, each.model, each.backend, tuple(each.labels.items()), each.accounts,
                each.tags,
            )  # fmt: skip
            known = rows.get(key)
            new: Any = tuple(each.amounts[unit] for unit in UNITS)
            if known is None:
                rows[key] = Spending(
                    hour=key[0], handler=each.handler, model=each.model, backend=each.backend, labels=each.labels,
                    amounts=new, estimated=each.estimated, accounts=each.accounts, tags=tuple(sorted(each.tags)),
                )  # fmt: skip
            else:
                both: Any = tuple(have + more for have, more in zip(known.amounts, new, strict=True))
                rows[key] = evolve(known, amounts=both, estimated=known.estimated or each.estimated)
        return list(rows.values())

    def _saw(self, what: str, **also: bool) -> None:
        for each in (what, *(f"{what}, {name}" for name, is_so in also.items() if is_so)):
            self.seen[each] = self.seen.get(each, 0) + 1


@frozen
class _Path:
    """Some of the nodes above a call."""

    path: list[Pocket]


class _Naive(Naive):
    """The line, whose owners' streams are asked for."""

    def __init__(self, patience: int, streams_of: Callable[[Any, Purse], list[Amounts]]) -> None:
        super().__init__(patience)
        self._streams_of = streams_of

    def stuck(self, owner: Any, purse: Purse) -> Amounts:
        return summed(self._streams_of(owner, purse))


def _nodes(wanting: Wanting) -> tuple[Pocket, ...]:
    assert isinstance(wanting.purse, Pocket)
    return wanting.purse.nodes
