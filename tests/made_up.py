"""Made-up devices, for tests that must not depend on this machine's clock."""

from pathlib import Path

from edgeprune import targets
from edgeprune.devices.runner import Runner
from edgeprune.devices.transports import TRANSPORTS, FakeTransport

FOLDER = Path(__file__).parent
QUICK = str(FOLDER / "quick.toml")  # this machine, timed briefly
FAKE = str(FOLDER / "fake.toml")  # a made-up device


def fake_runner(transport=None):
    """A runner that asks a made-up device."""
    return Runner(targets.load(FAKE), transport or FakeTransport())


def use(monkeypatch, transport):
    """Let all that asks for the made-up device ask this one."""
    monkeypatch.setitem(TRANSPORTS, "fake", lambda _: transport)
    return transport


def by_macs(int8_gain=1.0):
    """Operators take as many ms as they have million MACs; in int8 less."""

    def operator_ms(item):
        return item.macs / 1e6 / (int8_gain if item.quantized else 1.0)

    return operator_ms


def scripted(*loads):
    """Loads of the turns of models in the order in which they come, then none."""
    return lambda turn: loads[turn] if turn < len(loads) else 1.0
