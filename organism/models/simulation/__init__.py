"""The parts of the simulated model, in the order to read them.

How it behaves: ``options``, ``style`` (effort, and its only chance). What it reads: ``tokens`` counts, ``words`` knows language, ``documents``
finds XML and JSON, ``fields`` guesses what a name means, ``notices`` hears budgets, ``ranking`` finds sentences, ``situation`` is the whole
prompt understood. What it fills: ``schemas`` is JSON Schema, ``defaults`` the plainest values, ``evidence`` what could stand in a field,
``filling`` puts it there. What it does: ``drafting`` makes arguments at any length, ``planning`` tells tools apart and chooses the next step,
``writing`` makes it fit the output, and goes on with what was cut. ``xml_speech`` does all of this in XML, where a prompt asks for that.
``backend`` is the provider.
"""
