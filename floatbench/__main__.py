"""`python -m floatbench` is the `floatbench` command."""

from floatbench.cli.app import main

if __name__ == "__main__":
    main()
