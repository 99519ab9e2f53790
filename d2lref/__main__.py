"""The command `d2lref`, also as `python -m d2lref`: Ctrl-C is told in one line from the first import on."""

import signal
import sys

INTERRUPTED = 130  # calling convention; that of `cli`, which is not there yet


def main() -> None:
    """Run the command line and exit with the codes of the calling convention."""
    try:
        from d2lref.cli import status

        code = status()
    except KeyboardInterrupt:  # while something is imported
        sys.stderr.write("d2lref: interrupted\n")
        code = INTERRUPTED
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # nothing is left to interrupt, and the code is known
    sys.exit(code)


if __name__ == "__main__":
    main()
