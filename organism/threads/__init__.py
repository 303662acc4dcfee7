"""Threads: what one consists of, who may address whom in it, whose turn it is, and what it comes to. Plain state and pure rules about it.

Reading order:

* ``frames`` - threads, frames, messages, asks and conversations: the state that the kernel changes
* ``outcomes`` - the values that these hold: failures, warnings, why a thread ends, what handlers remember
* ``lineage``, ``dependence`` - questions about them: the tree of threads; who waits for whom
* ``routing`` - which handler may address which, with what payloads
* ``scheduling``, ``round_robin`` - mailboxes, the ready queue, fair turns, and the limits of what runs at once
* ``restart`` - when a message is tried again, and the circuit breaker of a handler that keeps failing
"""
