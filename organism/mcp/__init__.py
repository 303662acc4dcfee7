"""Tools of MCP servers, for agents.

Reading order:

* ``loading`` - the way in: it loads the rest, with the SDK, only where a server is used
* ``servers`` - all servers of an organism, from its start to its end
* ``connection`` - one server: started, called, started anew; ``run``: from one start to its end; ``stderr``: what it says beside
* ``tools`` - a server's tools as tools of agents; ``schemas``: their arguments, ``results``: what they come to
* ``recorded`` - the same of a record, for replays
* ``keys`` - what servers are given of the environment
"""
