"""The schema of a target file."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from edgeprune.settings import StrictModel

Precision = Literal["fp32", "fp16", "int8"]
Transport = Literal["host", "ssh", "browser", "adb", "fake"]
Seconds = Annotated[float, Field(ge=0, le=600, allow_inf_nan=False)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Version = Annotated[str, Field(pattern=r"^\d+\.\d+(\.\d+)?$")]
Word = Annotated[str, Field(pattern=r"^[^-\s][^\s]*$")]  # no option, no two words
NATIVE, WEB = "onnxruntime", "onnxruntime-web"
WEB_PROVIDERS = ("wasm", "webgpu")


class Runtime(StrictModel):
    """How a model is run there.

    Attributes:
        engine: `onnxruntime` is the native one, `onnxruntime-web` that of a page.
        cores: numbers of the cores that may be used; None is left to the device.
        optimization: ONNX Runtime's graph optimisation level.
        int8_activations: whether they are stored signed or unsigned; None goes by the
            processor: unsigned on x86.
        int8_weight_bits: 7 where the processor adds up pairs of products in 16 bits,
            which 8 bits of both overflow; None goes by the processor: 7 on x86 without
            VNNI.
        int8_steps: what shares a step of int8 weights: each output `channel`, or the
            whole `tensor`; `power_of_two` is one for the tensor, activations symmetric,
            for devices that shift instead of multiply.
        oldest: the oldest runtime that files must load in.
    """

    engine: Literal["onnxruntime", "onnxruntime-web"]
    provider: str
    threads: Annotated[int, Field(ge=1, le=1024)]
    cores: tuple[Annotated[int, Field(ge=0, le=4095)], ...] | None = None
    optimization: Literal[
        "ORT_DISABLE_ALL",
        "ORT_ENABLE_BASIC",
        "ORT_ENABLE_EXTENDED",
        "ORT_ENABLE_LAYOUT",
        "ORT_ENABLE_ALL",
    ] = "ORT_ENABLE_ALL"
    precisions: Annotated[tuple[Precision, ...], Field(min_length=1)] = ("fp32",)
    int8_activations: Literal["signed", "unsigned"] | None = None
    int8_weight_bits: Literal[7, 8] | None = None
    int8_steps: Literal["channel", "tensor", "power_of_two"] = "channel"
    oldest: Version = "1.17"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.cores is not None and len(set(self.cores)) < self.threads:
            raise PydanticCustomError(
                "cores", "cores names fewer cores than there are threads"
            )
        if (self.engine == WEB) != (self.provider in WEB_PROVIDERS):
            raise PydanticCustomError(
                "provider",
                "the providers wasm and webgpu go with the engine onnxruntime-web, and "
                "no others do",
            )
        if self.int8_steps == "power_of_two" and self.int8_activations == "unsigned":
            raise PydanticCustomError(
                "steps", "int8_steps power_of_two takes signed int8_activations"
            )
        return self


class TimingRecipe(StrictModel):
    """How one model is timed: at least so many runs and so many seconds."""

    warmup: Annotated[int, Field(ge=0, le=10_000)] = 5
    warmup_s: Seconds = 0.3
    iterations: Annotated[int, Field(ge=1, le=100_000)] = 10
    seconds: Seconds = 0.2
    rounds: Annotated[int, Field(ge=1, le=1000)] = 6


class ProbingRecipe(TimingRecipe):
    """How a latency table is measured: briefly, on many networks.

    Attributes:
        networks: that the table is fitted to, at most.
    """

    warmup: Annotated[int, Field(ge=0, le=10_000)] = 1
    iterations: Annotated[int, Field(ge=1, le=100_000)] = 3
    seconds: Seconds = 0.04
    rounds: Annotated[int, Field(ge=1, le=1000)] = 3
    networks: Annotated[int, Field(ge=4, le=10_000)] = 24


class VerdictRecipe(StrictModel):
    """How often the last word on a file is measured.

    Attributes:
        processes: in so many of them, one after another: what a process happens to get
            (memory, cores) stays as it is in all its rounds.
        apart_s: seconds between two.
    """

    processes: Annotated[int, Field(ge=1, le=100)] = 3
    apart_s: Seconds = 0.0


class Limits(StrictModel):
    """The limits of the device; None is unknown.

    Attributes:
        temperature_c: of the battery; where it is warmer, nothing is measured.
        job_s: seconds after which a measurement is given up.
    """

    memory_mb: Annotated[float, Field(gt=0)] | None = None
    file_mb: Annotated[float, Field(gt=0)] | None = None
    temperature_c: Annotated[float, Field(gt=0)] | None = None
    job_s: Annotated[float, Field(gt=0, le=86_400)] = 900.0


class Published(StrictModel):
    """A reference timing that somebody published; never a measurement of ours."""

    model: str
    latency_ms: Annotated[float, Field(gt=0)]
    runtime: str
    threads: Annotated[int, Field(ge=1, le=1024)]
    source: str


class SshConnection(StrictModel):
    """How OpenSSH reaches a board.

    Attributes:
        host: a Host of ~/.ssh/config, or user@address; by default the target's name.
        port: None leaves it to ~/.ssh/config.
        identity: file of the private key; None leaves it to ~/.ssh/config.
        python: the command of an interpreter with NumPy and ONNX Runtime; None is that
            of `edgeprune targets setup`, and where that was not done, python3.
        folder: on the board, for files that are sent there.
    """

    host: Word | None = None
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    identity: Annotated[str, Field(min_length=1)] | None = None
    python: Word | None = None
    folder: Word = ".edgeprune"
    connect_s: Annotated[int, Field(ge=1, le=600)] = 5


class BrowserConnection(StrictModel):
    """How a page reaches us: by the server that `edgeprune targets serve` starts.

    Attributes:
        wait_s: seconds in which a page that was lost may come back.
    """

    wait_s: Seconds = 60.0


class AdbConnection(StrictModel):
    """How adb reaches a phone, and what runs a model there.

    Attributes:
        serial: of the phone; None where only one is connected.
        runner: the program that runs models, built for the phone's processor.
        library: the libonnxruntime.so that it loads.
        folder: on the phone.
    """

    serial: Word | None = None
    runner: Annotated[str, Field(min_length=1)] | None = None
    library: Annotated[str, Field(min_length=1)] | None = None
    folder: Word = "/data/local/tmp/edgeprune"


class Target(StrictModel):
    """One device profile.

    Attributes:
        name: by default that of its file.
        base: the target whose file says all that this one does not.
        transport: how it is reached: `host` is this machine, `ssh` a board, `browser`
            a page on any phone, `adb` a phone on a cable, and `fake` a made-up device
            for tests.
    """

    name: Name
    base: str | None = None
    description: str
    transport: Transport
    runtime: Runtime
    ssh: SshConnection = SshConnection()
    browser: BrowserConnection = BrowserConnection()
    adb: AdbConnection = AdbConnection()
    timing: TimingRecipe = TimingRecipe()
    probing: ProbingRecipe = ProbingRecipe()
    verdict: VerdictRecipe = VerdictRecipe()
    limits: Limits = Limits()
    published: tuple[Published, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        web = self.runtime.engine == WEB
        if web != (self.transport == "browser") and self.transport != "fake":
            raise PydanticCustomError(
                "engine",
                "the engine onnxruntime-web goes with the transport browser, and no "
                "other does",
            )
        return self
