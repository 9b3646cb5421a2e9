"""Scripts for other interpreters: they import nothing of shiqbench, only the package whose environments they play."""
