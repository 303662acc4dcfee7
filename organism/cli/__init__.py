"""The command line. Nothing is imported before a command needs it: ``main`` names the commands, and loads the one that was typed.

The modules, in the order to read them:

* the frame: ``entry``, ``signals``, ``main``, ``exit_codes``, ``help_format``; ``arguments`` and ``options`` (what commands share, and usage errors)
* output: ``streams``, ``text``, ``tables`` (with figures in words); ``log_lines`` (log records as lines)
* running an organism: ``check``, ``sending`` (what to send to whom), ``running`` (a run that people can watch), ``run`` (and resume), ``conduct``
  (one run, from its start to its exit code), ``starting`` and ``interrupts``; ``chat`` and ``talking`` (one conversation); ``people`` and ``input_lines``
  (who answers at the terminal); ``report`` and ``budget_warnings`` (results and warnings in words), ``board`` and ``live`` (what goes on
  right now)
* reading a journal: ``journals`` (which one, opening it, and what of it is damaged), ``reading`` (its threads),
  ``phrases``; the commands ``threads``, ``show`` with ``story``, ``log``, ``usage`` with ``account_limits``,
  ``replay`` (and fork), ``transfer`` (export and import) and ``upkeep`` (verify and prune)
* changing what is in one: ``orders`` (pause, cancel, add-budget), ``inbox`` (and answer), ``dead``
* writing an organism: ``init`` with its ``templates``, ``graph``, ``models``, ``schema``, ``simulate`` with ``serving``
* comparing arms of settings: ``study`` with ``study_tables`` and ``study_usage``
"""
