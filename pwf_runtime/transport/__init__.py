"""Transports: what carries hints from call to call. ``base`` is the contract, ``memory`` its plainest reading."""
