"""Model backends: a call in, an answer out, over whichever backend can give it, and no call without a held budget.

The law of this room. A backend makes one attempt and says what happened; it never tries again, never waits of its own accord and never
counts money. The router does all of that: before each attempt its most is held, after it what it cost is settled, on every way out. What
comes from outside (answers, reports of usage, errors, headers) is checked where it comes in, and is never an excuse for an exception that is
no :class:`~organism.models.contract.BackendError`. No text shows a key. Clock, dice and environment are arguments.

In the order to read it:

- ``contract``: what a backend is, what it is asked, what it gives and how it fails. ``completion``: what a handler asks for and gets, and
  how its arguments become a call. ``validation``: whether what a backend gave keeps the contract.
- ``routing``: a call over the backends of its alias. ``tokens``: how many tokens a prompt will be, and were. ``prices`` and ``flat_prices``: what they
  cost, and how many a model takes.
- ``factories``, ``providers``: from settings to backends. ``readiness`` says what is wrong before anything starts, and loads what calls
  will need, in ``background`` threads. ``redaction``: secrets, and texts without them. ``observed``: a backend around a backend.
- ``formats``, ``reasoning``: what the formats of providers have in common. ``transport``: HTTP below all of them. ``openai`` and
  ``anthropic``: one package a format, each with ``request``, ``response`` and ``backend``.
- ``recordings``: answers written to a file, and given again from there. ``simulation``: a model of rules, which needs no key.
- ``conformance``: the test for backends. ``frozen_json``, ``surrogates``: JSON that nobody changes, and characters that came in halves.
"""
