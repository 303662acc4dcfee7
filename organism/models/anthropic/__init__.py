"""The ``anthropic`` provider and its format, Messages: ``request``, ``response``, and the ``backend`` that sends the one for the other."""
