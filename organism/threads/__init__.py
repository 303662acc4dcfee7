"""Threads: what one consists of, who may address whom in it, whose turn it is, and what it comes to. Plain state and pure rules about it."""
