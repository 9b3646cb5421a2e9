"""Makes cells with digests from a request, before anything is computed."""
