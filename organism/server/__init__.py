"""What the organism serves to others over HTTP: so far the simulated model, in the protocols of two providers.

Reading order:

* ``http`` - requests in, documents or streams of events out
* ``simulated`` - what is asked, in either protocol, and what the simulated model says to that; ``usage``, ``limits``: what it is said to cost,
  and how much of it there is
* ``chat``, ``messages`` - the two protocols: bodies into requests, answers into documents; ``refusals``: what is wrong with a request
"""
