"""The router: an alias in, an answer out, over whichever backend can give it. No call leaves it without a held budget.

Reading order: ``failover`` (whose turn it is), ``deployments`` (what all calls to one backend share), ``ledger`` (what to hold, and where),
``attempts`` (one of them), ``circuit_breaker`` and ``rate_limits`` (what a backend bears), ``shared`` (what of that several routers keep together), ``runs`` (a call over its attempts), ``streams``, and
the ``router`` in front.
"""
