"""The embedded example's baseline: trained once, then taken from a cache."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import torch
from safetensors.torch import load_file, save
from torch import nn

from edgeprune.data import Splits, TensorBatches
from edgeprune.errors import OutputError
from edgeprune.files import cache_folder, write_whole
from edgeprune.finetune.config import TrainingConfig
from edgeprune.finetune.loop import train
from edgeprune.progress import Progress

EPOCHS = 6
LEARNING_RATE = 0.05


def trained_example(
    model: nn.Module, splits: Splits, seed: int, progress: Progress
) -> nn.Module:
    """The example's model, trained on the example's data.

    The cache is keyed by everything that the weights depend on: the untrained weights,
    the data and the config.
    """
    config = TrainingConfig(
        "train the example's baseline", EPOCHS, learning_rate=LEARNING_RATE, seed=seed
    )
    path = cache_folder() / f"baseline-{_key(model, splits, config)}.safetensors"
    if path.is_file():
        model.load_state_dict(load_file(path))
        return model
    trained, _ = train(model, splits, replace(config, progress=progress))
    try:
        write_whole(path, save(_contiguous(trained)))
    except OutputError:
        progress.finish(f"{path.parent} cannot be written: trained anew next time")
    return trained


def _contiguous(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.contiguous() for name, value in model.state_dict().items()}


def _key(model: nn.Module, splits: Splits, config: TrainingConfig) -> str:
    digest = hashlib.sha256()
    for value in model.state_dict().values():
        digest.update(value.numpy().tobytes())
    assert isinstance(splits.train, TensorBatches)  # the example's data are in memory
    digest.update(splits.train.x.numpy().tobytes())
    digest.update(splits.train.y.numpy().tobytes())
    facts = [config.epochs, config.learning_rate, config.weight_decay, config.momentum]
    facts += [config.seed, splits.train.reading.batch_size, torch.__version__]
    digest.update(json.dumps(facts).encode())
    return digest.hexdigest()[:16]
