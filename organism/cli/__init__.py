"""The command line.

The rooms, in the order to read them: ``entry``, ``main`` (what was typed, and the exit code), ``streams`` and ``text`` (what a terminal
is given), ``arguments`` (options that commands share), ``check``, ``sending`` (what to send to whom), ``run`` and
``conduct`` (one run, from start to its exit code), ``interrupts``, ``logs``; ``report`` and ``crossings`` (results and
warnings in words), ``board`` and ``live`` (what goes on right now). For those who read a journal: ``journals`` (which one, and opening
it), ``reading`` (its threads), ``tables`` and ``phrases``; ``threads``, ``story`` and ``show``, ``log``, ``usage``, ``verify``, ``transfer``
(export and import) and ``prune``. Nothing here is imported before a command needs it:
``main`` names the commands, and loads the one that was typed.
"""
