"""Recovery: how good images become, by task, denoiser and method."""

import numpy as np
import pandas as pd
from keras import ops

from zoo.apps.imaging import picture_grid, similarities
from zoo.apps.plug_and_play.common import PlugAndPlayStudy, progress
from zoo.apps.plug_and_play.denoisers import DENOISERS
from zoo.apps.plug_and_play.tasks import TASKS
from zoo.metrics import psnr, snr
from zoo.study import Section, format_mean, new_figure

COMPARED = ("tv", "wavelet", "nlm", "unet", "simple_cnn", "simple_cnn_realsn")


class Recovery(PlugAndPlayStudy):
    """Tables and pictures of recovered images, and how each method gets there."""

    experiment = "recovery"
    title = "Plug-and-Play: recovered images"
    presets = {
        "quick": {
            "task": ["deblurring", "inpainting", "mri_random"],
            "denoiser": ["tv", "unet", "simple_cnn_realsn"],
            "solver": ["admm"],
            "images": ["camera", "china"],
            "image_size": 64,
            "iterations": 40,
            "step": ["1"],
            "runs": 1,
        },
    }
    presets["cpu"] = {
        **presets["quick"],
        "task": list(TASKS),
        "denoiser": [*COMPARED],
        "solver": ["admm", "fbs"],
        "images": ["camera", "ascent", "china", "moon", "phantom"],
        "image_size": 128,
        "iterations": 60,
    }
    presets["paper"] = {
        **presets["cpu"],
        "solver": ["admm", "drs", "fbs", "pdhg"],
        "image_size": 0,
        "iterations": 100,
        "runs": 3,
    }

    def run(self, hp, config, logdir):
        result, start = self.solve(hp, config), self.start(hp)
        scores = psnr(result.x, self.truth)
        return {
            **progress(result),
            "psnr": float(scores.mean()),
            "snr": float(snr(result.x, self.truth).mean()),
            "ssim": float(similarities(result.x, self.truth).mean()),
            "start_psnr": float(psnr(start, self.truth).mean()),
            "iterations_taken": float(result.iterations.mean()),
            "psnrs": scores,
            "residual_curve": np.nanmean(result.residual, axis=0),
            "estimate": result.x[0],
            "start": start[0],
        }

    def start(self, hp):
        """Returns what is seen of images without a prior."""
        operator, y = self.problem(hp.get("task"), hp.get("seed"))
        fidelity = TASKS[hp.get("task")].fidelity
        start = fidelity.start(operator, ops.convert_to_tensor(y))
        return np.clip(ops.convert_to_numpy(start), 0, 1)

    def sections_of(self, results, config, task):
        rows = []
        figure, ax = new_figure(
            TASKS[task].title, "iteration", "PSNR, dB", xscale="log"
        )
        pictures = [("truth", self.truth[0])]
        for denoiser, solver, step, runs in self.conditions(results, config, task):
            rows.append(
                {
                    "denoiser": denoiser,
                    "method": solver,
                    "step": f"x {step:g}",
                    "PSNR, dB": format_mean(runs["psnr"]),
                    "SNR, dB": format_mean(runs["snr"]),
                    "SSIM": format_mean(runs["ssim"], digits=3),
                    "below its best, dB": f"{runs['loss_of_best'].max():.2f}",
                    "iterations": f"{runs['iterations_taken'].mean():.0f}",
                }
            )
            curves = results.curves(runs["run"].iloc[0])
            curve, label = curves["psnr_curve"], f"{denoiser}, {solver}"
            ax.plot(
                np.arange(1, len(curve) + 1),
                curve,
                label=label,
                **DENOISERS[denoiser].style,
            )
            if len(pictures) == 1:
                pictures.append(("seen", curves["start"]))
            pictures.append((label, curves["estimate"]))
        ax.legend(fontsize="small")
        start = format_mean(results.select(task=task)["start_psnr"][:1])
        text = (
            f"What is measured is worth {start} dB without a prior. Means over "
            f"the images {', '.join(self.names)}, ± the deviation over seeds. PSNR "
            "is for a peak of 1, SNR against the image's own energy: published tables "
            "of MRI give the latter under the former's name."
        )
        return [
            Section(
                TASKS[task].title, text, pd.DataFrame(rows), figure, f"curves_{task}"
            ),
            Section(
                f"{TASKS[task].title}: pictures",
                figure=picture_grid(pictures),
                name=f"pictures_{task}",
            ),
        ]
