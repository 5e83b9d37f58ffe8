"""The pure core: the protocol's nouns and its state machines.

Rules of this floor:

- Everything here is a function of its arguments. No clock, no chance, no I/O, no logging, no
  threads: time arrives as ``now_ms``, tokens arrive as strings, answers arrive as inputs.
- Every value is frozen. A machine's state is a value, so it can be compared, hashed, printed and
  copied; the simulator depends on it. A frozen value of frozen values is in no cycle, so it is
  kept from Python's garbage collector (``gc=False``), which would look at millions of them in vain.
- A machine never performs anything. It returns an *effect* and is called again with the *input*
  that a driver got for it. Between any two effects the process may die: that is the only notion of
  a crash point there is.
- The same code runs in production and in the simulator. Nothing here may know which it is.

Reading order: ``model`` (nouns), ``txn`` (what a store can do), ``effects`` and ``inputs``
(what is asked and answered), ``steps`` (each transaction of the protocol), ``delivery`` (the
machine of one delivery), then the smaller machines ``start``, ``signal``, ``sweep`` and ``recover``.
"""
