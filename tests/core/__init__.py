"""The pure machines, driven by hand: see ``desk``."""
