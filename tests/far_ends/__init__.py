"""Far ends that cannot run here, played at the wire so that the code under test cannot tell."""
