"""What importing the package adds to importing Prefect: CPU seconds, one after the other in turn, as a ratio.

    python benchmarks/imports.py [--rounds 15]

Target: at most 1.10 times `import prefect`.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
from importlib.metadata import version

PREFECT = "import prefect"
OURS = "import prefect, prefect_videodb; prefect_videodb.VideoDBCredentials"


def cpu_s(program: str) -> float:
    """Run a program in a new interpreter; give the CPU seconds that it took."""
    before = os.times()
    subprocess.run([sys.executable, "-c", program], check=True)
    after = os.times()
    return (after.children_user - before.children_user) + (after.children_system - before.children_system)


def main() -> None:
    """Print medians and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    for program in (PREFECT, OURS):  # compiled and cached before it is timed
        cpu_s(program)
    pairs = [(cpu_s(PREFECT), cpu_s(OURS)) for _ in range(rounds)]
    print(f"Python {platform.python_version()}, prefect {version('prefect')}, {rounds} rounds, CPU seconds")
    print(f"{PREFECT:70} median {statistics.median(peer for peer, _ in pairs):.3f}")
    print(f"{OURS:70} median {statistics.median(ours for _, ours in pairs):.3f}")
    print(f"{'ratio, median of the pairs':77}{statistics.median(ours / peer for peer, ours in pairs):.3f}")


if __name__ == "__main__":
    main()
