"""The subcommands of ``pwsim``, one file each: ``add`` declares its options, ``run`` returns the exit code."""
