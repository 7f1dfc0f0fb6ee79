"""`python -m streamscope.cli` does what `streamscope` does."""

from streamscope.cli.main import run

if __name__ == "__main__":
    run()
