"""What the Python programs share: each check prints one line, and the next one goes on whatever it says."""
import os
import sys

MODE = os.environ["UNDERSTUDY_MODE"]
LARGE = 3_000_000


def run(checks):
    failed = False
    for name, check in checks:
        try:
            check()
            print(f"ok {name}", flush=True)
        except BaseException as error:  # also what a driver raises of its own
            failed = True
            text = " ".join(str(error).split()) or type(error).__name__
            print(f"failed {name}: {type(error).__name__}: {text[:300]}", flush=True)
    sys.exit(1 if failed else 0)


def expect(actual, expected):
    if actual != expected:
        raise AssertionError(f"got {actual!r:.200} instead of {expected!r:.200}")
