"""How findings are shown: in a terminal, as JSON."""
