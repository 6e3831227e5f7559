"""`python -m echod` is the `echod` command."""

from echod.cli import main

if __name__ == "__main__":
    main()
