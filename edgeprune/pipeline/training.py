"""How the network of a round is trained: what the settings and the data say of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from torch import nn

from edgeprune.data.augment import augmentation_for
from edgeprune.finetune.config import AVERAGE, TrainingConfig
from edgeprune.finetune.loop import STEPS, default_epochs, train
from edgeprune.pipeline.checkpoint import RunCheckpoint
from edgeprune.pipeline.context import RunContext
from edgeprune.pipeline.job import Job
from edgeprune.progress import SILENT
from edgeprune.records import Training

INPAINT_WEIGHT = 0.1
SCRATCH_STEPS = 2000  # of training from fresh weights, where --epochs does not say
GROWTH_STEPS = 1000  # of training what has become wider
PARTS = 3  # a round on the way takes one of them of the last one's epochs or time
LEAST_SECONDS = 5.0  # of training, when the time is over


def base_config(job: Job) -> TrainingConfig:
    """Build the configuration that all trainings of a run share."""
    settings = job.settings
    inpaints = settings.self_supervised == "inpaint"
    weight = (settings.inpaint_weight or INPAINT_WEIGHT) if inpaints else 0.0
    return TrainingConfig(
        learning_rate=settings.learning_rate,
        average=AVERAGE if settings.average is None else settings.average,
        smoothing=settings.label_smoothing,
        inpaint=weight,
        augment=augmentation_for(job.data, settings.augment),
        seed=settings.seed,
        device=job.device,
        progress=job.progress,
    )


@dataclass(frozen=True)
class Trainings:
    """The trainings of a run, one for each round."""

    context: RunContext

    def finetune_config(
        self, purpose: str, goal: float, accuracy: float | None = None
    ) -> TrainingConfig:
        """Training by distillation; short where it only goes part of the way.

        Args:
            goal: times the limits that the round prunes to, at least 1.
            accuracy: what the network has before, if it is known.
        """
        context, settings, last = self.context, self.context.settings, goal <= 1
        whole = context.baseline.accuracy
        # Training is judged in fp32: what quantizing costs is asked for on top.
        floor = context.floor + max(0.0, whole - context.start.accuracy)
        enough = floor if settings.stop_at_floor else None
        if not last:
            enough = min(whole if enough is None else enough, whole)
        usual = "sgd" if settings.from_scratch else "muon"
        return replace(
            base_config(context.job),
            purpose=purpose,
            epochs=self._epochs(accuracy, last=last),
            seconds=self._seconds(last=last),
            teacher=None if settings.distil == "no" else context.job.workload.model,
            hints=settings.distil == "features",
            optimizer=settings.optimizer or usual,
            enough=enough,
            accuracy=accuracy,
            floor=floor,
            known=context.known,
        )

    def growth_config(self, purpose: str) -> TrainingConfig:
        """Training by the labels alone.

        What is wider than the original would learn from it to be as good as that.
        """
        settings, config = self.context.settings, self.finetune_config(purpose, 1.0)
        if settings.epoch_count is None:
            samples = self.context.data.sizes[0]
            epochs = default_epochs(samples, steps=GROWTH_STEPS)
            config = replace(config, epochs=epochs)
        optimizer = settings.optimizer or "sgd"
        return replace(config, teacher=None, hints=False, optimizer=optimizer)

    def _epochs(self, accuracy: float | None, *, last: bool) -> int:
        settings = self.context.settings
        if not settings.train:
            return 0
        if settings.epoch_count is not None:
            return settings.epoch_count
        steps = SCRATCH_STEPS if settings.from_scratch else STEPS
        most = default_epochs(self.context.data.sizes[0], steps=steps)
        most = most if last else math.ceil(most / PARTS)
        if accuracy is None or not self.in_proportion:
            return most
        return self._proportionate(most, accuracy)

    @property
    def in_proportion(self) -> bool:
        """Whether a training is as long as the accuracy that is missing asks for."""
        settings = self.context.settings
        asked = settings.epochs is not None or settings.minutes is not None
        more = settings.from_scratch or settings.self_supervised != "no"
        return settings.train and settings.effort != "best" and not (asked or more)

    def _proportionate(self, most: int, accuracy: float) -> int:
        """Epochs in proportion to the accuracy that is missing.

        None where the original's is reached, and few where the difference is less than
        the validation split can tell; for a quick answer none above the floor.
        """
        whole, log = self.context.baseline.accuracy, self.context.log
        name = self.context.data.task.metric.name
        if self.context.settings.effort == "quick":
            return 0 if accuracy >= self.context.floor else math.ceil(most / PARTS)
        if accuracy >= whole:
            log.note(
                "training was left out: the network had the original's validation "
                f"{name} without it; --effort best trains anyway"
            )
            return 0
        samples = self.context.data.sizes[1]
        metric = self.context.data.task.metric
        if whole - accuracy <= metric.chance(whole, samples):
            log.note(
                "training was short: before it the network was as good as the "
                f"original, as far as {samples} validation samples can tell; --effort "
                "best trains longer"
            )
            return math.ceil(most / PARTS)
        return most

    def _seconds(self, *, last: bool) -> float | None:
        """Return the seconds that a training may take, if they are limited.

        A round that only goes part of the way leaves most of it to those that follow,
        as does the last one where the network is to grow.
        """
        settings = self.context.settings
        if settings.minutes is None:
            return None
        spent = self.context.log.stage_seconds.get("finetune", 0.0)
        left = max(60 * settings.minutes - spent, LEAST_SECONDS)
        left /= 1 if last and settings.growth == "no" else PARTS
        inpaints = settings.self_supervised == "inpaint"
        return left / 2 if inpaints else left  # trained twice

    def train(
        self, model: nn.Module, config: TrainingConfig
    ) -> tuple[nn.Module, Training]:
        """Train a network; with a second head and without, which tells its gain."""
        data, checkpoint = self.context.data, RunCheckpoint(self.context.job.state)
        progress = config.progress if config.epochs else SILENT
        state = checkpoint.training(config.purpose)
        config = replace(config, state=state, progress=progress)
        trained, training = train(model, data, config)
        if training.second_head is None or not training.epochs:
            return trained, training
        alone = f"{config.purpose}, one head"
        state = checkpoint.training(alone)
        plain = replace(config, inpaint=0.0, purpose=alone, state=state)
        other, without = train(model, data, plain)
        better = training.best_accuracy >= without.best_accuracy
        head = replace(
            training.second_head,
            accuracy_without=without.best_accuracy,
            kept=better and training.best_epoch > 0,
        )
        return trained if better else other, replace(training, second_head=head)
