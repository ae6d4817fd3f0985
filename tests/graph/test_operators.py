"""Users can teach the table of operators one of their own."""

import pytest
import torch

from edgeprune.errors import TraceError
from edgeprune.graph.operators import OPERATORS, register_operator
from edgeprune.graph.surgery import apply
from edgeprune.graph.survey import survey
from tests.graph.between import Between, pooled
from tests.reference import random_plan, zero_consumers


@pytest.fixture
def unknown(monkeypatch):
    """An operator of a user's own, in a library of its own."""
    library = torch.library.Library("edgeprune_tests", "FRAGMENT")
    library.define("doubled(Tensor x) -> Tensor")
    library.impl("doubled", lambda x: 2 * x, "CompositeExplicitAutograd")
    library.impl("doubled", lambda x: 2 * x, "Meta")
    held = dict(OPERATORS)
    yield lambda x: pooled(torch.ops.edgeprune_tests.doubled(x))
    OPERATORS.clear()
    OPERATORS.update(held)
    library._destroy()


def test_users_can_teach_an_operator_of_their_own(unknown):
    model, x = Between(unknown, 8).eval(), torch.randn(2, 3, 8, 8)
    before = survey(model, (x,))
    assert not before.groups
    assert "operator doubled has no rule" in before.refusals[0].reason
    register_operator("doubled", like="relu")
    after = survey(model, (x,))
    assert [group.size for group in after.groups] == [8]
    plan = random_plan(after, 0)
    with torch.no_grad():
        expected = zero_consumers(model, after, plan)(x)
        found = apply(model, after, plan)(x)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "asked", "complaint"),
    [
        ("relu", {"like": "add"}, "known already"),
        ("mine", {}, "either a rule"),
        ("mine", {"rule": lambda call: call.tensor, "like": "relu"}, "either a rule"),
        ("mine", {"like": "nothing"}, "'nothing', which is not known"),
    ],
)
def test_an_operator_is_taught_once_and_in_one_way(name, asked, complaint):
    with pytest.raises(TraceError, match=complaint):
        register_operator(name, **asked)
