"""The embedded example's baseline: trained once, then taken from a cache."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import replace

import torch
from torch import nn

from edgeprune.data import Splits, TensorBatches
from edgeprune.errors import DamagedFileError, OutputError
from edgeprune.files import cache_folder
from edgeprune.finetune.config import TrainingConfig
from edgeprune.finetune.loop import train
from edgeprune.graph.device import CPU
from edgeprune.progress import Progress
from edgeprune.tensor_file import read_tensors, write_tensors

EPOCHS = 6
LEARNING_RATE = 0.05


def trained_example(
    model: nn.Module,
    splits: Splits,
    seed: int,
    progress: Progress,
    device: torch.device = CPU,
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
        with suppress(DamagedFileError):
            model.load_state_dict(read_tensors(path)[0])
            return model
    trained, _ = train(model, splits, replace(config, progress=progress, device=device))
    try:
        write_tensors(path, trained.state_dict())
    except OutputError:
        progress.finish(f"{path.parent} cannot be written: trained anew next time")
    return trained


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
