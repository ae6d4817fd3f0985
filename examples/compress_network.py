"""Compress a network of your own to half of its time, and use what comes out.

python -m examples.compress_network [TARGET]
"""

import sys

import edgeprune
from examples.data import make_data
from examples.nets import make_net


def main(target: str = "host") -> None:
    """Prune to half of the time, fine-tune for two epochs, export and measure."""
    done = edgeprune.compress(
        make_net(), make_data(), budget="50%", max_drop=100.0, epochs=2, target=target
    )
    report = done.report
    print(report.sentence)
    print(f"status {report.status}, ratio {report.counted.latency_ratio:.2f}")
    print(f"{sum(p.numel() for p in done.model.parameters())} parameters are left")
    print(f"the file for the device: {done.folder / report.counted.file}")


if __name__ == "__main__":
    main(*sys.argv[1:])
