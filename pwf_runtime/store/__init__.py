"""Stores: where the truth about runs is kept. ``base`` is the contract, ``memory`` its plainest reading."""
