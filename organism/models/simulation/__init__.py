"""The parts of the simulated model, in the order to read them.

How it behaves: ``options``, ``dice`` (its only chance), ``style`` (effort). What it reads: ``tokens`` counts, ``words`` knows
language, ``documents`` finds XML and JSON, ``fields`` guesses what a name means, ``notices`` hears budgets, ``ranking`` finds
sentences, ``situation`` is the whole prompt understood. What it fills: ``schemas`` and ``checking`` are JSON Schema,
``patterns`` and ``defaults`` the plainest values, ``evidence`` what could stand in a field, ``filling`` puts it there. What
it does: ``toolbox`` tells tools apart, ``drafting`` makes arguments at any length, ``planning`` chooses the next step,
``writing`` makes it fit the output, and goes on with what was cut. ``xml_requests`` and ``xml_examples`` do all of this in XML, where a prompt asks for that. ``backend`` is the provider.
"""
