"""`python -m emix`: the command line."""

from emix.cli import main

if __name__ == "__main__":
    main()
