"""The batch runner: the same core on Ray Data, over archives, as fast as the cluster goes."""
