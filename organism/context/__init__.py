"""What a handler sees of its delivery: ``interface`` says it, ``delivery`` makes it true.

Whoever declares handlers loads the first alone: it takes nothing of the pump.
"""
