"""The ``openai`` provider and its format, chat completions: ``request``, ``response``, and the ``backend`` that sends the one for the other."""
