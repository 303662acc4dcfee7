"""The command line. Nothing is imported before a command needs it: ``main`` names the commands, and loads the one that was typed.

The modules, in the order to read them:

* the frame: ``entry``, ``main``, ``codes`` (exit codes), ``help_format`` and ``usage_errors``; ``arguments`` (options that commands share)
* output: ``streams``, ``text``, ``tables``, ``amounts``; ``logs`` (log records as lines)
* running an organism: ``check``, ``sending`` (what to send to whom), ``running`` (the options of a run), ``run``, ``resume``, ``conduct`` (one
  run, from its start to its exit code) and ``interrupts``; ``chat`` and ``talking`` (one conversation); ``people`` and ``input_lines`` (who
  answers at the terminal); ``report`` and ``crossings`` (results and warnings in words), ``board`` and ``live`` (what goes on right now)
* reading a journal: ``journals`` (which one, and opening it), ``damage``, ``thread_usage`` (what threads have used so far), ``reading`` (its
  threads), ``phrases``; the commands ``threads``, ``show`` with ``story``, ``log``, ``usage`` with ``calls`` and ``quotas``, ``verify``,
  ``replay``, ``transfer`` (export and import) and ``prune``
* changing what is in one: ``orders``, ``inbox`` with ``questions``, ``dead``, ``steering``, ``fork``
* writing an organism: ``init`` with its ``templates``, ``graph`` with ``topology``, ``models``, ``schema``, ``simulate`` with ``serving``
"""
