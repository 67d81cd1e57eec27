"""The report on one projector: Figure 6, pictures, conditions of convergence."""

import numpy as np
import pandas as pd

from zoo.apps.imaging import picture_grid
from zoo.apps.plug_and_play.restorations import RESTORATIONS, SIDE
from zoo.study import Section, format_mean, new_figure

PUBLISHED = ("published: l1", "published: projector", "published: specialised")


def comparison(results, config, names):
    """Returns the table of Figure 6."""
    rows, won = [], {}
    for name in config.restoration:
        task = RESTORATIONS[name]
        row, means = {"task": task.title}, {}
        for prior in config.prior:
            runs = results.select(restoration=name, prior=prior)
            scores = [results.curves(run)["psnrs"] for run in runs["run"]]
            scores = np.concatenate(scores) if scores else []
            row[f"{prior}, dB"] = format_mean(scores)
            means[prior] = np.mean(scores) if len(scores) else np.nan
        published = task.published or ("-",) * 3
        row.update(zip(PUBLISHED, published, strict=True))
        rows.append(row)
        if {"projector", "wavelet"} <= set(config.prior):
            above = bool(means["projector"] > means["wavelet"])
            won[task.kind] = won.get(task.kind, True) and above
    text = (
        f"PSNR for a peak of 1, mean ± deviation over {config.patches} patches of "
        f"{SIDE} x {SIDE} pixels of {', '.join(names)}, at half their size: one "
        "network, trained once, of which only the operator beside it changes. Its "
        "estimates are cut off at 0 and 1. Of tasks without noise, estimates of all "
        "are then moved to the nearest images that measure the same. Its step, and "
        "step and weight of the wavelets, db4, are tuned for each task on other "
        "photographs. The published "
        "numbers, as the report's Figure 6 has them, are SNRs of 64 x 64 images of "
        "ImageNet: other data, another measure, to be compared among themselves alone."
    )
    if won:
        text += (
            f"\n\nThe projector is above the wavelets on {sum(won.values())} of "
            f"{len(won)} kinds of tasks: "
            + "; ".join(f"{kind} {'yes' if one else 'no'}" for kind, one in won.items())
            + "."
        )
    if "specialised" in config.prior:
        text += (
            "\n\nSpecialised networks have the projector's form, and were trained "
            f"for {config.training_steps} updates from `A^T y / |A|^2` to images, "
            "for the very operator of the test."
        )
    else:
        text += (
            "\n\nNetworks that are trained for one task each are left out: "
            "`--prior=wavelet,projector,specialised` or `--preset=cpu` trains them."
        )
    return Section("Figure 6: one projector for all tasks", text, pd.DataFrame(rows))


def pictures(results, config, truth):
    """Returns the first patch of each task, as it is seen and recovered."""
    drawn = []
    for name in config.restoration:
        row = [("truth", truth)]
        for prior in config.prior:
            for run in results.select(restoration=name, prior=prior)["run"][:1]:
                curves = results.curves(run)
                if len(row) == 1:
                    row.append((RESTORATIONS[name].title, curves["start"]))
                row.append((prior, curves["estimate"]))
        missing = 2 + len(config.prior) - len(row)
        drawn += row + [("-", np.ones_like(truth))] * missing
    figure = picture_grid(drawn, columns=2 + len(config.prior))
    return Section("Recovered patches", figure=figure, name="pictures_projector")


def convergence(results, config):
    """Returns what is seen of the conditions of convergence."""
    figure, ax = new_figure(
        "ADMM with the projector",
        "iteration",
        "|change| / |point|",
        xscale="log",
        yscale="log",
    )
    rows = []
    for name in config.restoration:
        task = RESTORATIONS[name]
        for run in results.select(restoration=name, prior="projector")["run"][:1]:
            curves = results.curves(run)
            residual = curves["residual_curve"]
            ax.plot(np.arange(1, len(residual) + 1), residual, label=task.title)
            constant = curves["lipschitz_curve"].max()
            rows.append(
                {
                    "task": task.title,
                    "rho": f"{task.penalty:.3g}",
                    "constant of grad phi": f"{constant:.3g}",
                    "rho / constant": f"{task.penalty / constant:.2g}",
                    "residual": _path(residual),
                    "|A x - y|^2 / 2": _path(curves["misfit_curve"]),
                    "phi": _path(curves["phi_curve"]),
                }
            )
    if rows:
        ax.legend(fontsize="small")
    text = (
        "`phi(x) = log sigmoid(D(x))` of the discriminator that the projector was "
        "trained against. Where it stands for a prior `-lambda phi` that is not "
        "convex, ADMM is known to converge to a stationary point if the gradient "
        "of `phi` has a Lipschitz constant and `rho`, the inverse of the step, is "
        "above a multiple of `lambda` times that. The constant is the largest seen "
        "at some estimates on the way of some patches, by the power method: an "
        "estimate from below, near these images. `rho / constant` is "
        "the `lambda` at which the two are equal: which one a trained projector "
        "stands for is not known, and so nothing is certified. Columns with arrows "
        "are means of the first and the last estimate."
    )
    return Section(
        "Conditions of convergence",
        text,
        pd.DataFrame(rows),
        figure,
        "convergence_projector",
    )


def _path(curve):
    return f"{curve[0]:.3g} → {curve[-1]:.3g}"
