"""`python -m floatbench` is the `floatbench` command."""

import sys


def yield_to_installed_packages(path: list[str]) -> None:
    """Takes back the working folder that `python -m` put first, so that nothing in it is mistaken for a library.

    A clone that runs without being installed is found there: it moves to the end. A folder that PYTHONPATH names stays
    where it is; under `python -P` nothing was put first.
    """
    if sys.flags.safe_path:
        return
    first = path.pop(0)
    from pathlib import Path  # the library's, now

    if Path(first) != Path.cwd():
        path.insert(0, first)
    elif Path(__file__).resolve().parents[1] == Path(first).resolve():
        path.append(first)


if __name__ == "__main__":
    yield_to_installed_packages(sys.path)
    from floatbench.cli.app import main

    main()
