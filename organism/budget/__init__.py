"""Budgets, pure: what may be spent, what is held, what was spent, and who is told when. No clock, no I/O, no await.

The law (R12 of docs/reference/rules.md), on every node, unit and instant: ``0 <= used``, ``0 <= held``, and a hold is granted only if
after it ``used + held <= working limit`` on the whole path to the root.

One call in a thread that has used 520 of 1,000 tokens::

    limit 1000, kept back 100: working limit 900
                                             used   held   free
    before                                    520      0    380
    hold the worst case: 210                  520    210    170
    settle what it did cost: 160              680      0    220     the level 0.75 x 900 = 675 is reached: a warning

Reading order:

* ``claims`` - amounts as vectors of six units; what a call asks for (``Claim``), what it cost (``Charge``), and a level it reached (``Crossing``)
* ``caps`` - settings turned into integers: limits, what is kept back for grace, and the marks at which warnings fire
* ``node``, ``tree`` - one budget; hold and settle on the whole path from a budget to the root
* ``crossings``, ``levels`` - which warning levels use has reached, and the highest of them
* ``verdicts`` - whether a claim fits now, later or never
* ``waiting``, ``crowd`` - the line of calls that wait for budget, and the index of them that each node keeps
* ``windows`` - the hours, days and months (UTC) that shared limits count over
* ``view`` - a budget as handlers read it, live
"""
