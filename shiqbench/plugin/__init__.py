"""PUBLIC: what a plugin implements, and how plugins are found."""
