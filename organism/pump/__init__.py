"""The pump carries out what the kernel decides: it awaits handlers, keeps their deadlines, and wakes whoever waits.

It decides nothing itself, and writes no facts: that is the kernel's part. Nothing leaves before its record is durable (R20).

Reading order:

* ``pump`` - the parts put together, and how it starts and stops; ``orders``: what the kernel asks for is carried out
* ``workers``, ``stepper``, ``coroutines`` - the tasks that await handlers; the synchronous half of that; stepping a coroutine
* ``delivery`` - one handler call: its deadline, cancelling, and its place; ``outgoing``, ``failures``: what it answered or raised
* ``waiting``, ``aside``, ``wakeups`` - handlers that wait: they give their place back; without a task, where possible; how they are woken
* ``calling``, ``caller``, ``streaming``, ``ledger`` - model calls of a delivery, and the budget of one call
* ``keys``, ``memory`` - how answers are found again after a crash; what handlers remember
* ``handles``, ``accounts``, ``bare`` - what the embedding program holds of threads, conversations, accounts, and threads without handlers
* ``live_handles``, ``thread_end``, ``interfaces`` - those of live threads, how they hear of an end, and what the pump needs of whoever keeps them
* ``clock``, ``timers``, ``deadlines``, ``thread_budget`` - time, and the limits of threads
* ``people``, ``pauses``, ``retries``, ``escalation``, ``hooking`` - questions to people, paused threads, further attempts, stopping, hooks
* ``admission``, ``quiescence``, ``background`` - back-pressure on senders, draining, and running beside other tasks; ``activity``: whether
  anything goes on in a thread
* ``writer``, ``disk_thread`` - writing the journal; ``outlet``: the one way out to listeners; ``text_listeners``: text that agents are writing
* ``thread_pool``, ``watchdog`` - plain functions in threads of the operating system; handlers that block the event loop
* ``runtime``, ``own_loop`` - what differs between trio and asyncio; the one event loop that an organism belongs to; ``inside``: what its own
  handlers may not do with it
* ``garbage`` - how often Python looks for it meanwhile
"""
