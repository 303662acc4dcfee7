"""The parts of the simulated model, in the order to read them.

``tokens`` counts, ``words`` knows language, ``documents`` reads XML and JSON, ``fields`` guesses what a name means,
``notices`` hears budgets, ``situation`` is the whole prompt understood, ``ranking`` finds sentences, ``style`` is how
much effort, ``schemas`` and ``strings`` are JSON Schema, ``evidence`` says what could stand in a field, ``filling``
builds arguments, ``planning`` chooses the next step, ``writing`` makes it fit the output.
"""
