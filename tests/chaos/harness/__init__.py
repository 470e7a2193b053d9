"""The chaos harness: lives of the real command line, forked, killed, and held to an undisturbed run."""
