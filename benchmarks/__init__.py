"""What things cost, measured. Each module is a program: ``python -m benchmarks.NAME [--json] [--seconds N]``."""
