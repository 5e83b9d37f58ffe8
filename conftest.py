"""Fixtures that every test folder may use: the real servers, started on demand, once a session."""
