"""Budgets, pure: what may be spent, what is held, what was spent, and who is told when. No clock, no I/O, no await."""
