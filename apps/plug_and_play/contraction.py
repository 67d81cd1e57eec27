"""Figure 7: contraction with and without the spectral norm, and condition (19)."""

import numpy as np
import pandas as pd

from zoo.apps.plug_and_play.common import (
    PlugAndPlayStudy,
    geometric_mean,
    moving_factors,
    progress,
)
from zoo.apps.plug_and_play.denoisers import DENOISERS, LEVEL
from zoo.apps.plug_and_play.tasks import TASKS
from zoo.layers import lipschitz_report
from zoo.solvers.plug_and_play import certify
from zoo.study import Section, new_figure

PAIR = ("simple_cnn", "simple_cnn_realsn")


class Contraction(PlugAndPlayStudy):
    """Runs methods for long, with denoisers that have a bound and that have none."""

    experiment = "contraction"
    title = "Plug-and-Play: contraction and its conditions"
    presets = {
        "quick": {
            "task": ["sharpening", "mri_random"],
            "denoiser": [*PAIR],
            "solver": ["admm"],
            "images": ["camera"],
            "image_size": 64,
            "iterations": 200,
            "step": ["1", "20"],
            "runs": 1,
        },
    }
    presets["cpu"] = {
        **presets["quick"],
        "task": ["denoising", "sharpening", "mri_random"],
        "denoiser": [*PAIR, "unet", "tv"],
        "solver": ["admm", "fbs"],
        "images": ["camera", "ascent"],
        "iterations": 500,
        "step": ["0.5", "1", "20"],
    }
    presets["paper"] = {
        **presets["cpu"],
        "task": [name for name in TASKS if name != "photons"],
        "images": ["camera", "ascent", "china", "moon", "phantom"],
        "image_size": 0,
    }

    def prepare(self, config):
        super().prepare(config)
        self.bounds = {}

    def run(self, hp, config, logdir):
        result = self.solve(hp, config, tolerance=0.0)
        certificate = self.certify(hp, result)
        factors = moving_factors(result)
        optional = {
            "proved_factor": certificate.factor,
            "asymmetry": certificate.asymmetry,
        }
        return {
            **progress(result),
            "diverged": float(np.mean(result.stop_reason == "diverged")),
            "mean_factor": geometric_mean(factors),
            "largest_factor": float(factors.max()),
            "measured_eps": certificate.measured_eps,
            "mu": certificate.mu,
            "expansion": certificate.expansion,
            "bounded": certificate.bounded,
            **{name: one for name, one in optional.items() if one is not None},
            "verdict": np.array([f"{certificate.status}: {certificate.why}"]),
            "condition": np.array(certificate.condition),
            "factors": factors,
            "ratios": certificate.ratios,
        }

    def certify(self, hp, result):
        """Returns the `Certificate` of a run, measured near its estimates."""
        point, name = self.point(hp), hp.get("denoiser")
        if DENOISERS[name].bounded and name not in self.bounds:
            self.bounds[name] = lipschitz_report(point["denoiser"]).product
        level = TASKS[hp.get("task")].sigma if DENOISERS[name].levels else LEVEL
        return certify(
            **{**point, "sigma": level / 255},
            images=np.clip(result.x, 0, 1),
            method=hp.get("solver"),
            lipschitz_bound=self.bounds.get(name),
        )

    def sections_of(self, results, config, task):
        title, rows, findings = TASKS[task].title, [], []
        factors, axis = new_figure(
            f"{title}: contraction of a step",
            "|change| / |change before|",
            "iterations",
        )
        ratios, below = new_figure(
            f"{title}: condition (19)", "|(D - I)(x) - (D - I)(y)| / |x - y|", "pairs"
        )
        curves, beside = new_figure(title, "iteration", "PSNR, dB", xscale="log")
        drawn = set()
        for denoiser, solver, step, runs in self.conditions(results, config, task):
            run = runs.iloc[0]
            found = results.curves(run["run"])
            rows.append(self._row(run, found, denoiser, solver, step))
            label = f"{denoiser}, {solver}, x {step:g}"
            findings.append(f"- {label}: {found['verdict'][0]}")
            style = DENOISERS[denoiser].style
            line = {
                **style,
                "label": label,
                "linewidth": 1 + config.step.index(step),
            }
            bins = np.linspace(0, 1.5, 61)
            axis.hist(found["factors"], bins, histtype="step", **line)
            curve = found["psnr_curve"]
            beside.plot(np.arange(1, len(curve) + 1), curve, **line)
            if denoiser not in drawn:
                drawn.add(denoiser)
                below.hist(
                    found["ratios"], 20, histtype="step", label=denoiser, **style
                )
        # What diverges would leave nothing to see of the others.
        beside.set_ylim(bottom=max(beside.get_ylim()[0], 0))
        for ax in (axis, below, beside):
            ax.legend(fontsize="x-small")
        text = (
            f"{config.iterations} iterations on {', '.join(self.names)}. The factor "
            "is the geometric mean over those whose change is above 1e-5 of the point: "
            "below, float32 rounds it. `eps` is the largest ratio of (19) "
            "that was seen, at pairs near the estimates and along the worst direction; "
            "`expansion` is that of D itself, not above 1 in the condition of Sreehari "
            "et al.; `bounded` is the constant of Chan et al.\n\n" + "\n".join(findings)
        )
        table = pd.DataFrame(rows).fillna("-")
        return [
            Section(f"{title}: certificates", text, table, factors, f"factors_{task}"),
            Section(f"{title}: condition (19)", figure=ratios, name=f"ratios_{task}"),
            Section(f"{title}: accuracy", figure=curves, name=f"psnr_{task}"),
        ]

    def _row(self, run, found, denoiser, solver, step):
        left, right = found["condition"]
        proved = run.get("proved_factor", np.nan)
        return {
            "denoiser": denoiser,
            "method": solver,
            "step": f"x {step:g}",
            "mean factor": f"{run['mean_factor']:.4f}",
            "largest": f"{run['largest_factor']:.3f}",
            "eps": f"{run['measured_eps']:.3f}",
            "mu": f"{run['mu']:.3g}",
            "(20)": f"{left:.3g} < {right:.3g}" if np.isfinite(left) else "-",
            "factor of the theorem": "-" if np.isnan(proved) else f"{proved:.4f}",
            "expansion": f"{run['expansion']:.3f}",
            "bounded": f"{run['bounded']:.2f}",
            "PSNR, dB": f"{run['psnr']:.2f}",
            "below its best, dB": f"{run['loss_of_best']:.2f}",
            "verdict": found["verdict"][0].partition(":")[0],
        }
