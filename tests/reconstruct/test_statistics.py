import torch
from torch import nn

from edgeprune.data import Reading, TensorBatches
from edgeprune.reconstruct.statistics import restated


def batches(x, size):
    return TensorBatches(x, torch.zeros(len(x), dtype=torch.long), Reading(size))


def test_norms_know_what_they_read_and_nothing_else_changes():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, momentum=0.3), nn.Dropout(0.5)
    )
    x = 5 + 2 * torch.randn(64, 3, 8, 8)
    found = restated(model.eval(), batches(x, 16))
    made = model[0](x)
    assert torch.allclose(found[1].running_mean, made.mean((0, 2, 3)), atol=1e-4)
    variances = [part.var((0, 2, 3)) for part in made.split(16)]
    expected = torch.stack(variances).mean(0)
    assert torch.allclose(found[1].running_var, expected, rtol=1e-4)
    assert found[1].momentum == 0.3
    assert not any(module.training for module in found.modules())
    assert torch.equal(model[1].running_mean, torch.zeros(4))
    for one, other in zip(found.parameters(), model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_same_statistics_as_torch_when_it_goes_on():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    x = torch.randn(40, 3)
    torch.optim.swa_utils.update_bn(list(x.split(8)), model)
    found = restated(model, batches(x, 8))
    assert torch.allclose(found[1].running_var, model[1].running_var)


def test_a_network_without_norms_and_a_lone_sample():
    plain = nn.Sequential(nn.Linear(3, 2))
    found = restated(plain, batches(torch.randn(4, 3), 2))
    assert torch.equal(found[0].weight, plain[0].weight)
    normed = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).eval()
    normed[1].running_mean.fill_(3)
    again = restated(normed, batches(torch.randn(1, 3), 2))
    assert torch.equal(again[1].running_mean, normed[1].running_mean)
