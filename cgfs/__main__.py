"""`python -m cgfs` is the `cgfs` command."""

from cgfs.cli import main

if __name__ == "__main__":
    main()
