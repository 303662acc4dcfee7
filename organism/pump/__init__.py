"""The pump carries out what the kernel decides: it awaits handlers, keeps their deadlines, and wakes who waits.

Read ``pump`` first, then ``workers`` and ``stepper`` (who awaits handlers), ``delivery`` (one handler call), ``aside`` (those that wait for
an answer without a task), ``ledger`` (the budget of one model call), ``handles`` (what the embedding program holds), ``timers`` and
``runtime`` (what differs between trio and asyncio).
"""
