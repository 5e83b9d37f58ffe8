"""The simulated world: a clock, a broker, a store and processes, moved one action at a time.

``World.enabled()`` says what may happen next, ``World.apply(action)`` makes it happen. Nothing in here chooses.
"""
