"""A thread told to a person: its facts as lines, each as deep as the frame that it happened in.

``page`` is what the lines are written on; ``calls`` writes those of model calls, and ``story`` tells the rest.
"""
