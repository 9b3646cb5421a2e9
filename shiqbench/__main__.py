"""``python -m shiqbench``."""

from shiqbench.commands.app import main

if __name__ == "__main__":
    main()
