"""`python -m d2lref`: the command line."""

from d2lref.cli import main

main()
