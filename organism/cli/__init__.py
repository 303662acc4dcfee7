"""The command line.

The rooms, in the order to read them: ``entry``, ``main`` (what was typed, and the exit code of ``codes``), ``helps`` and ``misused``; ``streams``,
``text``, ``tables`` and ``amounts`` (what a terminal is given), ``arguments`` (options that commands share). For those who run an
organism: ``check``, ``sending`` (what to send to whom), ``running`` (their options), ``run``, ``resume`` and ``conduct`` (one run, from
start to its exit code), ``chat`` and ``talking`` (one conversation), ``people`` and ``typed`` (who answers at the terminal),
``interrupts``, ``logs``; ``report`` and ``crossings`` (results and warnings in words), ``board`` and ``live`` (what goes on right now).
For those who read a journal: ``journals`` (which one, and opening it), ``damage``, ``spending`` (what threads have used so far), ``reading`` (its threads), ``phrases``; ``threads``,
``pages``, ``attempts``, ``waits``, ``story`` and ``show``, ``log``, ``usage`` with ``calls``, ``quotas`` and ``separated``, ``verify``, ``replay``, ``transfer`` (export and
import) and ``prune`` with ``moments``. For those who change what is in one: ``orders``, ``questions`` and ``inbox``, ``dead``, ``steering``, ``fork``.
For those who write an organism: ``init`` and its ``templates``, ``graph`` with ``topology``, ``models``, ``schema``, ``simulate`` and ``serving``.
Nothing here is imported before a command needs it: ``main`` names the commands, and loads the one that was typed.
"""
