"""Recordings of models: ``recorder`` writes what was asked and answered as ``takes``, ``playback`` answers from them.

``mismatch`` says how a request that has no answer there differs from the nearest one that has, ``sellers`` of whom the answers were bought.
"""
