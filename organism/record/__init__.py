"""What has happened: facts, the steps they consist of, what a thread is at one instant, and what is told of calls.

Reading order:

* ``fact``, ``steps`` - what all facts have; the parts of a change, in order
* ``facts``, ``model_calls`` - the facts: all there are, and those of model calls among them
* ``images`` - what a thread is at one instant, for snapshots; what a delivery has been answered already
* ``metering``, ``calls`` - what calls cost and came to, made of their facts: events for billing, rows for studies
"""
