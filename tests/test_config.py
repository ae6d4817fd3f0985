import pytest

from edgeprune.config import (
    check_sparsity,
    check_structure,
    load_settings,
    parse_share,
)
from edgeprune.errors import ConfigError
from edgeprune.records import Budget


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
        check_structure(load_settings({"growth": "both", "max_macs": "1M"}, tmp_path))
    with pytest.raises(ConfigError, match="muon goes with compress and fit only"):
        check_sparsity(load_settings({"sparsity": 0.5, "optimizer": "muon"}, tmp_path))


def test_what_an_int8_file_keeps_alive_is_no_budget(tmp_path):
    asked = {"precision": "int8", "max_memory_mb": 1.0}
    with pytest.raises(ConfigError, match="max-memory-mb does not go with"):
        check_structure(load_settings(asked, tmp_path))


@pytest.mark.parametrize(
    ("text", "count"),
    [("60M", 60_000_000), ("1.5k", 1500), ("2G", 2 * 10**9), ("7", 7)],
)
def test_counts_may_have_suffixes(tmp_path, text, count):
    assert load_settings({"max_params": text}, tmp_path).max_params == count


def test_shapes_are_read(tmp_path):
    assert load_settings({"input": "3x64x48"}, tmp_path).input == (3, 64, 48)


COSTS = Budget(latency_ms=8.0, macs=999, params=70, size_bytes=400, memory_bytes=50)


def test_budgets_in_megabytes_are_bytes(tmp_path):
    settings = load_settings({"max_size_mb": 1.5}, tmp_path)
    assert settings.budget(COSTS) == Budget(size_bytes=1_500_000)


@pytest.mark.parametrize("share", ["50%", "50.0%", "050%"])
def test_budgets_may_be_shares_of_what_the_original_costs(tmp_path, share):
    names = ("budget_ms", "max_macs", "max_params", "max_size_mb", "max_memory_mb")
    settings = load_settings(dict.fromkeys(names, share), tmp_path)
    assert settings.limited
    assert settings.budget(COSTS) == Budget(4.0, 500, 35, 200, 25)


def test_small_shares_and_large_ones_are_shares(tmp_path):
    for share, expected in (("0.5%", 0.04), ("150%", 12.0), ("100%", 8.0)):
        settings = load_settings({"budget_ms": share}, tmp_path)
        assert settings.budget(COSTS).latency_ms == pytest.approx(expected)


def test_without_any_budget_nothing_is_limited(tmp_path):
    settings = load_settings({}, tmp_path)
    assert not settings.limited
    assert settings.budget(COSTS) == Budget()
    with pytest.raises(ConfigError, match="at least one budget"):
        check_structure(settings)
    check_structure(load_settings({"max_drop": 3.0}, tmp_path))
    check_structure(load_settings({"structure": "pca"}, tmp_path))


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
        load_settings(given, tmp_path)
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
    assert load_settings({}, tmp_path).floor(0.9) == pytest.approx(0.88)
    assert load_settings({"max_drop": 5}, tmp_path).floor(0.9) == pytest.approx(0.85)
    assert load_settings({"accuracy_floor": 0.7}, tmp_path).floor(0.9) == 0.7


def test_shares_are_read():
    assert parse_share("5%") == 0.05
    assert parse_share("0.1") == 0.1
    for wrong in ("x", "200%", "-1%"):
        with pytest.raises(ConfigError):
            parse_share(wrong)


def test_epochs_of_the_file_do_not_count_where_nothing_is_trained(tmp_path):
    (tmp_path / "edgeprune.toml").write_text("epochs = 9")
    check_structure(load_settings({"train": False, "budget_ms": 1.0}, tmp_path))
    with pytest.raises(ConfigError, match="--epochs, which trains"):
        check_structure(load_settings({"train": False, "epochs": 3}, tmp_path))
