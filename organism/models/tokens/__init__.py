"""How many tokens: estimated before a call without a tokenizer, and believed after it as far as a report can be.

``prompt`` is what is sent, ``prompt_cache`` takes it apart once. An estimate (``estimates``) is made of ``prefixes`` that were reported before, and
of what earlier ``reports`` say of texts like the new ones, which ``profiles`` compare, and of what providers add. ``usage`` is what a
report is worth, and the least that a stream has brought.
"""
