"""The lowest room: errors, digests, files, the cache, the machine. It imports no other room."""
