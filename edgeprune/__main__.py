"""`python -m edgeprune`."""

from edgeprune.cli import main

if __name__ == "__main__":
    main()
