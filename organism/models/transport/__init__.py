"""HTTP below every format: connections, bodies that have an end, events, and what failures mean.

``sdk`` is the backend whose requests an official SDK carries. ``connections`` are its sockets, ``body`` the bytes of an answer, ``sse`` the
events in them, ``headers`` what is said beside them. ``refusals`` says what a status and its text mean, ``errors`` what broke on the way, and
``options`` what of a backend's options goes where.
"""
