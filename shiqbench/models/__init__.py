"""Sources of models: the embedded model, folders, the hub, finished cells."""
