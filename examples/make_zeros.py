"""Make half of the channels zero in training, then remove them.

python -m examples.make_zeros [TARGET]
"""

import sys

import edgeprune
from examples.data import make_data
from examples.nets import make_net


def main(target: str = "host") -> None:
    """Sparse training by a group lasso, and what each step came to."""
    done = edgeprune.sparsify(
        make_net(),
        make_data(),
        method="prox-sg",
        sparsity=0.5,
        materialise=True,
        epochs=6,
        max_drop=100.0,
        target=target,
    )
    for step in done.report.steps:
        share = step.sparsity.channels
        print(f"{step.name}: {share:.0%} of the channels are zero, {step.params} left")
    print(done.report.sentence)


if __name__ == "__main__":
    main(*sys.argv[1:])
