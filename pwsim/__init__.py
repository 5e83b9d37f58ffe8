"""A deterministic simulator for workflows of ``pwf_runtime``."""
