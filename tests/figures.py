"""Records with made-up measurements, for tests that measure nothing."""

from dataclasses import replace

from edgeprune.records import (
    Machine,
    Memory,
    ModelFigures,
    Timing,
    TimingSummary,
)

MACHINE = Machine("Linux", "x86_64", "a CPU", 2, 2**34)


def timing_of(*samples, rounds=1):
    return Timing(
        rounds_ms=(tuple(samples),) * rounds,
        warmup_ms=(1.0,),
        load_ms=5.0,
        threads=1,
        provider="CPUExecutionProvider",
        runtime="onnxruntime 1",
        pinned_cpus=(0,),
        machine=MACHINE,
        seed=0,
    )


def figures_of(cost, latency_ms, **more):
    """Figures of a counted network whose time is shared out by MACs."""
    timing = timing_of(latency_ms, latency_ms)
    layers = tuple(
        replace(layer, latency_ms=latency_ms * layer.macs / cost.macs)
        for layer in cost.layers
    )
    figures = ModelFigures(
        file="model.onnx",
        sha256="0" * 64,
        precision="fp32",
        size_bytes=4 * cost.params,
        macs=cost.macs,
        params=cost.params,
        memory=Memory(2**20, 2**18),
        timing=timing,
        summary=TimingSummary.of(timing),
        layers=layers,
    )
    return replace(figures, **more)
