"""Strategies: which schedules of a program to play. One per file, each a generator of ``Result``."""
