"""What several processes do together; started by `test_team.py`, writes to a folder."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from edgeprune.errors import EdgepruneError
from edgeprune.finetune import loop
from edgeprune.finetune.config import TrainingConfig
from edgeprune.finetune.loop import train
from edgeprune.finetune.process_group import run_as_main, team, work_for_main
from edgeprune.finetune.shared_norms import share_norms_
from tests.data_sets import splits
from tests.nets import Bottom

NORMS = {2: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}


class Alike(nn.Module):
    """Batch norms of all kinds, none of them with a layer before it."""

    def __init__(self):
        super().__init__()
        self.norms = nn.ModuleDict(
            {str(axes): kind(5, momentum=0.3) for axes, kind in NORMS.items()}
        )
        self.plain = nn.BatchNorm2d(5, affine=False, momentum=None)

    def forward(self, inputs):
        found = [self.norms[str(x.ndim)](x) for x in inputs]
        return [*found, self.plain(inputs[1])]


def rows(count=7):
    """Inputs of all kinds, and what their outputs are weighed with."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(count, 5), (count, 5, 3, 4), (count, 5, 2, 3, 2)]
    found = [torch.randn(shape, generator=generator) * 3 + 1 for shape in shapes]
    weights = [torch.randn(shape, generator=generator) for shape in shapes]
    return found, [*weights, weights[1]]


def normed(model, part):
    """Outputs, gradients of the inputs and statistics, of a part of the rows."""
    inputs, weights = rows()
    inputs = [x[part].requires_grad_() for x in inputs]
    outputs = model.train()(inputs)
    sum((y * w[part]).sum() for y, w in zip(outputs, weights, strict=True)).backward()
    return {
        **{f"output {at}": y.detach() for at, y in enumerate(outputs)},
        **{f"gradient {at}": x.grad for at, x in enumerate(inputs)},
        **{f"state {name}": value for name, value in model.state_dict().items()},
        "evaluated": model.eval()(inputs)[1].detach(),
    }


def data(kind):
    """Colours in memory, or from a loader that cannot be divided.

    That is read by the main process alone: in others it may hold anything.
    """
    whole = splits(batch=18)
    if kind != "loader":
        return whole
    order = 1 if team().main else -1
    lists = {
        name: list(getattr(whole, name))[::order]
        for name in ("train", "validation", "test", "calibration")
    }
    return replace(whole, **lists)


def trained(kind, **config):
    """A model after two epochs, and the record of its training."""
    torch.manual_seed(0)
    teacher, model = Bottom(12), Bottom(8)
    return train(
        model, data(kind), TrainingConfig("pair", 2, teacher=teacher, **config)
    )


RECIPES = {
    "memory": {"average": 0.5},
    "loader": {"hints": True, "optimizer": "muon"},
    "two heads": {"inpaint": 0.1},
}


def main(folder):
    loop.fastest_format = lambda *_: loop.PLAIN
    members = team()
    model = Alike()
    share_norms_(model)
    mine = slice(members.rank, None, members.count)
    save_file(
        {k: v.contiguous() for k, v in normed(model, mine).items()},
        folder / f"norms{members.rank}.safetensors",
    )
    for kind, config in RECIPES.items():
        if not members.main:
            work_for_main(data(kind))
            continue
        found, history = run_as_main(
            lambda kind=kind, config=config: trained(kind, **config)
        )
        save_file(found.state_dict(), folder / f"{kind}.safetensors")
        epochs = [[one.loss, one.validation_accuracy] for one in history.epochs]
        facts = {"processes": history.processes, "epochs": epochs}
        (folder / f"{kind}.json").write_text(json.dumps(facts))

    def fails():
        raise EdgepruneError("the disk is full")

    try:
        run_as_main(fails) if members.main else work_for_main(data("memory"))
    except EdgepruneError as error:
        (folder / f"failure{members.rank}.txt").write_text(str(error))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
