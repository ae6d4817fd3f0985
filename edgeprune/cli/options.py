"""The options of the command line that say what and how, each written once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

MODEL = "What it is"
BUDGETS = "Budgets, any number together"
ACCURACY = "Accuracy"
HOW = "How"
SPARSITY = "Zeros"

Model = Annotated[
    str | None,
    typer.Option(
        help="torchvision:NAME, timm:NAME or package.module:factory. The embedded "
        "meter reader if neither --model nor --data is given.",
        rich_help_panel=MODEL,
    ),
]
Weights = Annotated[
    Path | None,
    typer.Option(
        help=".pt or .pth with a state dict, .safetensors, or the folder of a run to "
        "go on from; never unpickled.",
        rich_help_panel=MODEL,
    ),
]
NumClasses = Annotated[
    int | None, typer.Option(help="Outputs of the model.", rich_help_panel=MODEL)
]
Input = Annotated[
    str | None,
    typer.Option(
        "--input",
        help="Shape of one sample, such as 3x224x224.",
        rich_help_panel=MODEL,
    ),
]
Batch = Annotated[
    int | None,
    typer.Option(
        help="Samples in one call of the exported model.", rich_help_panel=MODEL
    ),
]
Target = Annotated[
    str | None,
    typer.Option(help="A shipped target or a .toml file.", rich_help_panel=HOW),
]
Seed = Annotated[
    int | None, typer.Option(help="Of all randomness.", rich_help_panel=HOW)
]
AsJson = Annotated[
    bool,
    typer.Option("--json", help="Print JSON instead of tables.", rich_help_panel=HOW),
]
Quiet = Annotated[
    bool, typer.Option("--quiet", help="Plain lines, no bars.", rich_help_panel=HOW)
]


Data = Annotated[
    str | None,
    typer.Option(
        help="digits, a folder of images by class, an .npz file, "
        "torchvision:NAME@ROOT, package.module:factory, or noise (no data at all).",
        rich_help_panel=MODEL,
    ),
]
Mean = Annotated[
    str | None,
    typer.Option(
        help="Per channel, such as 0.49,0.48,0.45: inputs (bytes as 0..1) are "
        "brought to (x - mean) / std.",
        rich_help_panel=MODEL,
    ),
]
Std = Annotated[
    str | None, typer.Option(help="Per channel, see --mean.", rich_help_panel=MODEL)
]
BudgetMs = Annotated[
    str | None,
    typer.Option(
        help="Median latency on the target; or, as for all budgets, a share of the "
        "original's, such as 50%.",
        rich_help_panel=BUDGETS,
    ),
]
MaxMacs = Annotated[
    str | None,
    typer.Option(
        help="Multiply-accumulates of one call, such as 60M.",
        rich_help_panel=BUDGETS,
    ),
]
MaxParams = Annotated[
    str | None,
    typer.Option(help="Parameters, such as 1.2M.", rich_help_panel=BUDGETS),
]
MaxSizeMb = Annotated[
    str | None,
    typer.Option(help="Size of the ONNX file in 10^6 bytes.", rich_help_panel=BUDGETS),
]
MaxMemoryMb = Annotated[
    str | None,
    typer.Option(
        help="Activations that are alive at once, in 10^6 bytes.",
        rich_help_panel=BUDGETS,
    ),
]
AccuracyFloor = Annotated[
    float | None,
    typer.Option(help="Lowest validation accuracy, 0 to 1.", rich_help_panel=ACCURACY),
]
MaxDrop = Annotated[
    float | None,
    typer.Option(
        help="Points that validation accuracy may lie below the baseline's (2 "
        "if neither is given).",
        rich_help_panel=ACCURACY,
    ),
]
Criterion = Annotated[
    str | None,
    typer.Option(
        help="How the channels of a group are ranked: l1 (if missing), l2, fpgm, "
        "slimming, apoz, taylor, taylor_weight, output_gradient, obd, pls_vip, "
        "hopls_vip, pca or random. Two, as l1,obd: the second looks only at the "
        "channels near the cut.",
        rich_help_panel=ACCURACY,
    ),
]
Epochs = Annotated[
    str | None,
    typer.Option(
        help="Of fine-tuning, in each round; chosen by the size of the data if "
        "missing; auto for as many as there is time for, see --minutes.",
        rich_help_panel=ACCURACY,
    ),
]
Minutes = Annotated[
    float | None,
    typer.Option(
        help="Time for all fine-tuning together, in place of --epochs.",
        rich_help_panel=ACCURACY,
    ),
]
Distil = Annotated[
    str | None,
    typer.Option(
        help="What is learnt from the original in fine-tuning: features (if missing: "
        "its outputs and feature maps), logits (its outputs alone) or no.",
        rich_help_panel=ACCURACY,
    ),
]
LabelSmoothing = Annotated[
    float | None,
    typer.Option(
        help="Share of each label that is spread over all classes; with --distil no.",
        rich_help_panel=ACCURACY,
    ),
]
Augment = Annotated[
    str | None,
    typer.Option(
        help="How training images are changed: auto (as the data bear it, if missing), "
        "none, or some of crop,rotate,flip.",
        rich_help_panel=ACCURACY,
    ),
]
SelfSupervised = Annotated[
    str | None,
    typer.Option(
        help="inpaint: fine-tune once more with a second head that fills in a cut-out "
        "region, and keep the better network; the gain is reported.",
        rich_help_panel=ACCURACY,
    ),
]
InpaintWeight = Annotated[
    float | None,
    typer.Option(
        help="Of the second head's loss (0.1 if missing).", rich_help_panel=ACCURACY
    ),
]
StopAtFloor = Annotated[
    bool | None,
    typer.Option(
        "--stop-at-floor",
        help="End each training as soon as the accuracy floor is reached.",
        rich_help_panel=ACCURACY,
    ),
]
Reconstruct = Annotated[
    bool | None,
    typer.Option(
        "--reconstruct/--no-reconstruct",
        help="Fit each layer by least squares to what it made before (yes, if "
        "missing); looks at no labels.",
        rich_help_panel=ACCURACY,
    ),
]
Train = Annotated[
    bool | None,
    typer.Option(
        "--train/--no-train",
        help="Fine-tune in each round (yes, if missing).",
        rich_help_panel=ACCURACY,
    ),
]
LearningRate = Annotated[
    float | None,
    typer.Option(help="Peak of the schedule.", rich_help_panel=ACCURACY),
]
BatchSize = Annotated[
    int | None, typer.Option(help="Of training.", rich_help_panel=ACCURACY)
]
DynamicBatch = Annotated[
    bool | None,
    typer.Option(
        "--dynamic-batch",
        help="Leave the batch axis of the exported model open.",
        rich_help_panel=HOW,
    ),
]
Pt2 = Annotated[
    bool | None,
    typer.Option(
        "--pt2",
        help="Write the module as a torch.export archive, model.pt2, too.",
        rich_help_panel=HOW,
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(help="Folder of the run; new under runs/.", rich_help_panel=HOW),
]
Structure = Annotated[
    str | None,
    typer.Option(
        help="Who chooses widths and blocks: solver (least measured loss within the "
        "budgets, if missing) or pca (significant dimensions of the activations).",
        rich_help_panel=HOW,
    ),
]
Variance = Annotated[
    float | None,
    typer.Option(
        help="With pca: share of the variance to explain, 0 to 1; 0.999 if missing, "
        "or the largest that fits the budgets.",
        rich_help_panel=HOW,
    ),
]
FromScratch = Annotated[
    bool | None,
    typer.Option(
        "--from-scratch",
        help="With pca: fresh weights and one training of the new shape.",
        rich_help_panel=HOW,
    ),
]
UngroupedProxy = Annotated[
    bool | None,
    typer.Option(
        "--ungrouped-proxy",
        help="With pca: look at the activations of a copy with dense in place of "
        "grouped convolutions, which is trained first.",
        rich_help_panel=HOW,
    ),
]
Method = Annotated[
    str | None,
    typer.Option(
        help="magnitude (smallest weights, if missing), l1-mask (whole filters), "
        "hybrid (filters of convolutions, weights of linear layers); sparse training: "
        "slimming, prox-sg, bayesian.",
        rich_help_panel=SPARSITY,
    ),
]
SparsityShare = Annotated[
    float | None,
    typer.Option(
        "--sparsity",
        help="Share that is to be zero, 0 to 1: of the weights with magnitude and with "
        "--regulariser weights, of the channels else.",
        rich_help_panel=SPARSITY,
    ),
]
Rounds = Annotated[
    int | None,
    typer.Option(
        help="Of masks, in equal steps, each with a training (3 if missing).",
        rich_help_panel=SPARSITY,
    ),
]
Gradual = Annotated[
    bool | None,
    typer.Option(
        "--gradual",
        help="Masks grow along a cubic during one training, instead of rounds.",
        rich_help_panel=SPARSITY,
    ),
]
Penalty = Annotated[
    float | None,
    typer.Option(
        help="Weight of the penalty or prior of sparse training; found for --sparsity "
        "if missing.",
        rich_help_panel=SPARSITY,
    ),
]
Regulariser = Annotated[
    str | None,
    typer.Option(
        help="With prox-sg: channels (group lasso, if missing) or weights (l1).",
        rich_help_panel=SPARSITY,
    ),
]
Materialise = Annotated[
    bool | None,
    typer.Option(
        "--materialise",
        help="Remove the channels that are zero throughout, and train again.",
        rich_help_panel=SPARSITY,
    ),
]
Optimizer = Annotated[
    str | None,
    typer.Option(
        help="muon, sgd or adamw. If missing muon to fine-tune, and sgd for zeros, for "
        "growth and from fresh weights.",
        rich_help_panel=HOW,
    ),
]
Precision = Annotated[
    str | None,
    typer.Option(
        help="The file that budgets and floor are about: fp32 (if missing) or int8, "
        "which is often twice as fast, so that less has to be pruned.",
        rich_help_panel=BUDGETS,
    ),
]
Average = Annotated[
    float | None,
    typer.Option(
        help="Share of all steps that an exponential average of the weights looks back "
        "over, which is what is judged and kept; 0 for none. If missing 0.1, and none "
        "for zeros.",
        rich_help_panel=HOW,
    ),
]
Grow = Annotated[
    bool | None,
    typer.Option(
        "--grow",
        help="Where the budget is not used up, widen what gains most per millisecond "
        "and train on.",
        rich_help_panel=HOW,
    ),
]
LowRank = Annotated[
    str | None,
    typer.Option(
        help="Let layers be factored (Tucker, SVD) where that pays in ms: no (if "
        "missing), planner (ranks by the planner) or bayes (by variational Bayes).",
        rich_help_panel=HOW,
    ),
]
