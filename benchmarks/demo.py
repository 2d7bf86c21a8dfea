"""The demo's figures: run `nearfar demo` and keep its numbers.

    python benchmarks/demo.py                     # seed 0, what `make demo` runs; about four minutes on two cores
    python benchmarks/demo.py --seed 1            # another world, other weights

The demo's settings (encoder, normalisation, head, learning rate, epochs) were chosen on the world of seed 0; the other
seeds were run once, afterwards. Writes benchmarks/results/demo.json, by seed: the metrics of both runs, their paired
differences, and the seconds the command took.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RESULTS = Path(__file__).parent / "results" / "demo.json"
KEPT = ("train", "classify", "noise", "health", "attention", "opinions", "retrieve")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--folder", type=Path, help="keep the demo's folder here")
    args = parser.parse_args()
    folder = args.folder or Path(tempfile.mkdtemp()) / "demo"
    start = time.perf_counter()
    command = [sys.executable, "-m", "nearfar", "demo", "--seed", str(args.seed), "--out", str(folder)]
    subprocess.run(command, check=True)
    seconds = time.perf_counter() - start
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    runs = {n: {k: m[k] for k in KEPT if k in m} for n, m in report.items() if n != "comparison"}
    content = {**runs, "comparison": report["comparison"], "seconds": round(seconds, 1)}
    everything = json.loads(args.out.read_text(encoding="utf-8")) if args.out.is_file() else {}
    everything[str(args.seed)] = content
    args.out.write_text(json.dumps(everything, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(json.dumps({"seconds": content["seconds"], "comparison": content["comparison"]}, indent=1))


if __name__ == "__main__":
    main()
