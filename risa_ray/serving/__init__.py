"""The live page and the API on Ray Serve, beside the running job or over a dataset alone."""
