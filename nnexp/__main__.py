"""`python -m nnexp` is `nnexp`."""

from nnexp.cli.app import main

if __name__ == "__main__":
    main()
