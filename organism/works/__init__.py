"""The running parts of an organism: what comes in, what is kept on a disk, who hears of it, and how all of it is put together.

Reading order:

* ``works``, ``starting`` - all parts, put together when it starts and taken apart when it closes; the time in which it starts
* ``ingress`` - messages in new threads; ``arrivals``, ``naming``, ``repeats``: what is on its way in, under which id, and what is sent again
* ``conversations`` - turns, one after the other
* ``durable`` - the journal, written behind the organism and read to go on; ``vocabulary``: what it is read as; ``ordered``: what is ordered
  again under an id; ``pruning``: removing what is finished
* ``audience`` - who hears of facts; ``histories``, ``rows``: what happened in a thread, and what it came to
* ``inbox``, ``answers`` - what people are asked, and what they have answered; ``dead``: messages that failed for good
* ``bursar`` - the handler ``organism``, which says and grants budget
* ``control`` - orders from other processes
* ``counts``, ``learning``, ``replays`` - figures of one instant, what is learned of models, and replays, for :class:`organism.organism.Organism`
* ``hooked``, ``redaction`` - what hooks can be added to; log records without secrets
"""
