"""Small workflows to read, to run and to simulate.

Each runs as it stands, without servers: ``python -m examples.registration``. The same objects serve a worker
(``pwf worker examples.registration:users``) and the simulator
(``pwsim run examples.registration:users,examples.registration:documents --start ...``).
"""
