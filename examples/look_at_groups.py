"""See which channels must go together, take some out, and check what is left.

python -m examples.look_at_groups
"""

import torch

import edgeprune
from examples.nets import make_net


def main() -> None:
    """Survey a network, apply a plan, and compare shapes."""
    model, x = make_net().eval(), torch.randn(1, 3, 16, 16)
    graph = edgeprune.survey(model, (x,))
    for group in graph.groups:
        print(f"{group.name}: {group.size} channels, read by {group.layers('input')}")
    for refusal in graph.refusals:
        print(f"kept: {refusal.channels} at {refusal.name}: {refusal.reason}")
    plan = edgeprune.Plan({"3": tuple(range(0, 64, 2))})
    smaller = edgeprune.apply(model, graph, plan)
    print(f"layer 3 was {tuple(model[3].weight.shape)}")
    print(f"layer 3 is {tuple(smaller[3].weight.shape)}, {smaller(x).shape[1]} outputs")


if __name__ == "__main__":
    main()
