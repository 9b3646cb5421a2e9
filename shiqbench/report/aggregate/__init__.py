"""Over tasks: normalised scores, their aggregates, ranks, tables and figures."""
