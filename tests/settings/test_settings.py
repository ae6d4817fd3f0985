"""Settings: read from the file and the command line, checked, and declared once."""

import pytest

from edgeprune.errors import ConfigError
from edgeprune.metric import ACCURACY
from edgeprune.pipeline.limits import budget_of
from edgeprune.records import Budget
from edgeprune.settings import (
    COMMANDS,
    MASKED,
    CompressSettings,
    FitSettings,
    ProfileSettings,
    ScoreSettings,
    SparsifySettings,
    load_settings,
    parse_share,
    settings_of_call,
)


def test_the_command_line_wins_over_the_file(tmp_path):
    (tmp_path / "edgeprune.toml").write_text(
        'budget-ms = 5\nseed = 3\nmax_macs = "60M"'
    )
    settings = load_settings({"budget_ms": 4.0, "seed": None}, tmp_path)
    assert (settings.budget_ms, settings.seed, settings.max_macs) == (
        4.0,
        3,
        60_000_000,
    )


def test_growth_needs_milliseconds_and_zeros_no_muon(tmp_path):
    with pytest.raises(ConfigError, match="give --budget-ms"):
        load_settings({"growth": "both", "max_macs": "1M"}, tmp_path).check()
    asked = {"sparsity": 0.5, "optimizer": "muon"}
    with pytest.raises(ConfigError, match="muon goes with compress and fit only"):
        load_settings(asked, tmp_path, SparsifySettings).check()


def test_what_an_int8_file_keeps_alive_is_no_budget(tmp_path):
    asked = {"precision": "int8", "max_memory_mb": 1.0}
    with pytest.raises(ConfigError, match="max-memory-mb does not go with"):
        load_settings(asked, tmp_path).check()


@pytest.mark.parametrize(
    ("text", "count"),
    [("60M", 60_000_000), ("1.5k", 1500), ("2G", 2 * 10**9), ("7", 7)],
)
def test_counts_may_have_suffixes(tmp_path, text, count):
    assert load_settings({"max_params": text}, tmp_path).max_params == count


def test_shapes_are_read(tmp_path):
    assert load_settings({"input": "3x64x48"}, tmp_path).input == (3, 64, 48)


class Costs:
    """Of an original that takes 8 ms."""

    latency_ms, latency_ratio = 8.0, 1.0
    macs, params, size_bytes, memory_bytes = 999, 70, 400, 50


def test_budgets_in_megabytes_are_bytes(tmp_path):
    settings = load_settings({"max_size_mb": 1.5}, tmp_path)
    assert budget_of(settings, Costs()) == Budget(size_bytes=1_500_000)


@pytest.mark.parametrize("share", ["50%", "50.0%", "050%"])
def test_budgets_may_be_shares_of_what_the_original_costs(tmp_path, share):
    names = ("budget_ms", "max_macs", "max_params", "max_size_mb", "max_memory_mb")
    settings = load_settings(dict.fromkeys(names, share), tmp_path)
    assert settings.limited
    assert budget_of(settings, Costs()) == Budget(None, 500, 35, 200, 25, 0.5)


def test_small_shares_and_large_ones_are_shares(tmp_path):
    for share, expected in (("0.5%", 0.005), ("150%", 1.5), ("100%", 1.0)):
        settings = load_settings({"budget_ms": share}, tmp_path)
        found = budget_of(settings, Costs())
        assert found.latency_ratio == pytest.approx(expected)
        assert found.latency_ms is None


def test_without_any_budget_nothing_is_limited(tmp_path):
    settings = load_settings({}, tmp_path)
    assert not settings.limited
    assert budget_of(settings, Costs()) == Budget()
    with pytest.raises(ConfigError, match="at least one budget"):
        settings.check()
    load_settings({"max_drop": 3.0}, tmp_path).check()
    load_settings({"structure": "pca"}, tmp_path).check()


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"budget_ms": 0}, r"--budget-ms: .*greater than 0.*50%, found 0"),
        ({"budget_ms": "0%"}, r"--budget-ms: .*50%, found '0%'"),
        ({"max_macs": "-5%"}, r"--max-macs: .*60M.*50%, found '-5%'"),
        ({"max_size_mb": "half"}, r"--max-size-mb: .*50%, found 'half'"),
        ({"budget_ms": -3.0}, r"--budget-ms: .*greater than 0"),
        ({"budget_ms": float("nan")}, r"--budget-ms"),
        ({"max_macs": "many"}, r"--max-macs: .*'many'"),
        ({"max_macs": "-5M"}, r"--max-macs: .*greater than 0"),
        ({"input": "3xax4"}, r"--input: .*'3xax4'"),
        ({"input": "3x0x4"}, r"--input"),
        ({"accuracy_floor": 90}, r"--accuracy-floor: .*from 0 to 1.*0.92"),
        ({"accuracy_floor": 0.9, "max_drop": 1}, "not both"),
        ({"mean": "0.5"}, "--mean and --std together"),
        ({"epochs": -1}, "--epochs"),
    ],
)
def test_bad_settings_are_named_in_one_sentence(tmp_path, given, complaint):
    with pytest.raises(ConfigError, match=complaint) as caught:
        load_settings(given, tmp_path).check()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("budget_ms = 'x'", r"'budget_ms' in .*edgeprune.toml"),
        ("colour = 1", r"Unknown setting 'colour'.*budget_ms"),
        ("budget_ms =", r"edgeprune.toml cannot be read"),
    ],
)
def test_faults_in_the_file_name_the_file(tmp_path, text, complaint):
    (tmp_path / "edgeprune.toml").write_text(text)
    with pytest.raises(ConfigError, match=complaint):
        load_settings({}, tmp_path)


def test_the_floor_is_two_points_below_the_baseline_by_default(tmp_path):
    assert load_settings({}, tmp_path).floor(0.9, ACCURACY) == pytest.approx(0.88)
    assert load_settings({"max_drop": 5}, tmp_path).floor(
        0.9, ACCURACY
    ) == pytest.approx(0.85)
    assert load_settings({"accuracy_floor": 0.7}, tmp_path).floor(0.9, ACCURACY) == 0.7


def test_shares_are_read():
    assert parse_share("5%") == 0.05
    assert parse_share("0.1") == 0.1
    for wrong in ("x", "200%", "-1%"):
        with pytest.raises(ConfigError):
            parse_share(wrong)


def test_epochs_of_the_file_do_not_count_where_nothing_is_trained(tmp_path):
    (tmp_path / "edgeprune.toml").write_text("epochs = 9")
    load_settings({"train": False, "budget_ms": 1.0}, tmp_path).check()
    with pytest.raises(ConfigError, match="--epochs, which trains"):
        load_settings({"train": False, "epochs": 3}, tmp_path).check()


def test_the_file_may_hold_what_other_commands_take(tmp_path):
    (tmp_path / "edgeprune.toml").write_text("sparsity = 0.5\nbudget_ms = 3\nseed = 2")
    assert load_settings({}, tmp_path).budget_ms == 3.0
    assert load_settings({}, tmp_path, SparsifySettings).sparsity == 0.5
    assert load_settings({}, tmp_path, ProfileSettings).seed == 2
    assert load_settings({}, tmp_path, FitSettings).budget_ms == 3.0


def test_a_python_caller_is_told_what_belongs_elsewhere():
    with pytest.raises(ConfigError, match=r"compress\(\) has no 'sparsity'"):
        settings_of_call({"sparsity": 0.5}, "compress()", CompressSettings)
    with pytest.raises(ConfigError, match="Unknown setting 'colour': choose from"):
        settings_of_call({"colour": 1}, "compress()", CompressSettings)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.COMMAND)
def test_every_setting_says_what_it_is_and_what_happens_without_it(command):
    optional = {"budget_ms", "max_macs", "max_params", "max_size_mb", "max_memory_mb"}
    optional |= {"accuracy_floor", "minutes", "sparsity"}
    assert command.options()
    for name, option in command.options().items():
        assert option.help.endswith(".")
        assert option.panel
        assert command.default_text(name) or name in optional, name


@pytest.mark.parametrize(
    ("command", "given", "complaint"),
    [
        (CompressSettings, {"variance": 0.9}, "--variance goes with --structure pca"),
        (CompressSettings, {"inpaint_weight": 1.0}, "--self-supervised inpaint only"),
        (CompressSettings, {"label_smoothing": 0.1}, "--distil no only: it would blur"),
        (
            CompressSettings,
            {"structure": "pca", "low_rank": "bayes"},
            "--low-rank goes with --structure solver only",
        ),
        (CompressSettings, {"train": False, "growth": "wider"}, "--no-train does not"),
        (CompressSettings, {"epochs": "auto"}, "give --minutes"),
        (CompressSettings, {"epochs": 3, "minutes": 2.0}, "not both"),
        (SparsifySettings, {"penalty": 1.0}, "magnitude has no --penalty"),
        (SparsifySettings, {"method": "slimming", "rounds": 2}, "--rounds goes with"),
        (SparsifySettings, {"epochs": "auto"}, "compress and fit only"),
        (SparsifySettings, {"regulariser": "weights"}, "--method prox-sg only"),
    ],
)
def test_what_does_not_go_together_is_refused(tmp_path, command, given, complaint):
    always = {"budget_ms": 1.0} if command is CompressSettings else {"sparsity": 0.5}
    settings = load_settings({**always, **given}, tmp_path, command)
    with pytest.raises(ConfigError, match=complaint):
        settings.check()


def test_scoring_takes_a_variance_without_a_structure(tmp_path):
    load_settings({"variance": 0.9}, tmp_path, ScoreSettings).check()


def test_methods_with_masks_are_those_of_the_table():
    from edgeprune.sparse.methods import METHODS

    assert {name for name, method in METHODS.items() if method.masked} == set(MASKED)
