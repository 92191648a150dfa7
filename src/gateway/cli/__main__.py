"""`python -m gateway.cli` is `onestop`, for when its script is not on the path."""

from gateway.cli import main

main(prog_name="onestop")
