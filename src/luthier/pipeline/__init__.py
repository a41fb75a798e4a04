"""Rooms put together: from data to a specialist, each step resumable by the hash of its inputs.

make        the main job: check, measure the base, train, evaluate, compare, merge, verify
gate        a candidate against a champion: found, checked for leaks, asked, decided, kept
bundle      a finished run as a version in the store of specialists
evaluators  what a run measures while it trains
"""
