"""A request becomes cells with digests, before anything is computed."""
