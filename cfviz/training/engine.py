"""The training loop. Hugging Face accelerate handles processes, devices and precision.

The same command runs in one process on the CPU, in several (`accelerate launch --cpu --num_processes 2 -m
cfviz train …`), on GPUs and on several nodes.
"""

import csv
import platform
import signal
import time
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.utils import gather_object
from timm.data import Mixup
from timm.scheduler import CosineLRScheduler
from timm.utils import ModelEmaV3
from torch import nn

from cfviz.data.left_out import told
from cfviz.models.crossformer import CrossFormer
from cfviz.models.probes.formats import multiplies_bfloat16
from cfviz.run import pick_device

from . import cache, check, data, positions, state, teacher
from .distill import Student, TeacherMaps
from .folder import identity, shown
from .recipe import MACHINE_PATHS, UNRELATED, Phase, Recipe
from .ship.made_with import commit, versions
from .start import build_model, groups_of, make_optimizer, settled
from .stem import fold_stem

LOG_COLUMNS = [
    "epoch",
    "step",
    "size",
    "loss",
    "lr",
    "photos_per_second",
    "seconds",
    "held_out_top1",
    "held_out_loss",
]


def precision_of(recipe: Recipe, out: Path, cpu: bool) -> Literal["bf16", "no"]:
    """Whether a run computes in bf16 or in float32 ("no"): as the recipe says, as it began, by the device."""
    if recipe.precision != "auto":
        return recipe.precision
    if (out / state.NAME).exists():
        begun = state.read(out)["recipe"].get("precision")
        return "bf16" if begun == "bf16" else "no"
    return "bf16" if multiplies_bfloat16("cpu" if cpu else pick_device()) else "no"


def _flat(made: dict[str, Any]) -> dict[str, str]:
    """What a run is made with, each thing by its name: commit, processor, packages."""
    return {name: made[name] for name in ("commit", "processor") if name in made} | made.get("versions", {})


class Trainer:
    """One training run in one folder: `last.pt` (everything needed to resume), `log.csv` and the positions.

    Args:
        recipe: The run's recipe.
        out: The run's folder; if it contains a `last.pt`, the run resumes from that.
        cpu: Use the CPU even if there is a GPU.
    """

    def __init__(self, recipe: Recipe, out: str | Path, cpu: bool = False):
        self.recipe, self.out = recipe, Path(out)
        if self.out.exists() and not self.out.is_dir():
            raise ValueError(f"{out} is not a folder; expected one for the run's files")
        self.recipe = replace(recipe, precision=precision_of(recipe, self.out, cpu))
        self.accelerator = Accelerator(mixed_precision=self.recipe.precision, cpu=cpu)
        if recipe.precision == "auto":
            self.say(f"precision: {self.recipe.precision}")
        self._open_photos()
        self.epoch, self.step_in_epoch, self.step = 0, 0, 0
        self.seconds = 0.0
        self.stop_asked = False
        self.until: int | None = None  # the step to stop after
        self.diverged, self.saved = False, 0
        self.identity = identity(self.photos)
        self.unreadable: dict[str, str] = {}  # photos that could not be read later on, and why
        self._check_batches()
        self.changes: list[dict[str, Any]] = []  # what changed on resuming: settings, commit, processor, ...
        self.made = {"commit": commit(), "versions": versions(), "processor": self._processor()}
        self._build()
        self._resume()
        if self.accelerator.is_main_process:  # of a run that these photos are not refused for
            check.record(self.out, self.photos, self.files)
        self.positions = positions.Recorder(
            self.out, self._about(), recipe.position_every, self.total_steps, self.say
        )
        self.positions.resume(self.step, self._average())

    def _open_photos(self) -> None:
        """Open the training photos, find those that can be used, and split off the held-out ones."""
        self.out.mkdir(parents=True, exist_ok=True)
        with self.accelerator.main_process_first():
            self.photos = data.open_photos(self.recipe, self.out, self.say)
        self.classes, wanted = len(self.photos.classes), self.recipe.num_classes
        if wanted not in (None, self.classes):
            raise ValueError(
                f"{self.recipe.data} has {self.classes} classes; the recipe says num_classes={wanted}: "
                "remove that, so that the folders are counted, or name another folder"
            )
        self.recipe = settled(replace(self.recipe, num_classes=self.classes))
        bad = check.unusable(self.photos, self.out, self.accelerator, self.recipe.workers, self.say)
        fine = ~np.isin(np.arange(len(self.photos)), bad)
        held = cache.held_out(self.photos.names, self.recipe.hold_out)
        warning = check.check_classes(self.photos, fine, held)
        self.train_indices, self.held_indices = np.flatnonzero(fine & ~held), np.flatnonzero(fine & held)
        self.files = check.files_of(self.photos, bad, held)
        self.say(told(self.files))
        if warning:
            self.say(warning)

    def _check_batches(self) -> None:
        """Refuse batches larger than the training set, or not divisible into pairs for every process."""
        recipe, n, world = self.recipe, len(self.train_indices), self.accelerator.num_processes
        for phase in recipe.phases:
            batch = recipe.batch(phase)
            if n < batch:
                raise ValueError(
                    f"{recipe.data} gives {n} photos to train on ({len(self.held_indices)} are held out), "
                    f"fewer than one batch of {batch}; lower batch_size"
                )
            if batch % (2 * world):
                raise ValueError(
                    f"got a batch of {batch} for {world} processes, expected a multiple of {2 * world}"
                )

    def _build(self) -> None:
        recipe = self.recipe
        data.train_transform(
            recipe.phases[0].size, recipe
        )  # raises now, not in a reader process, if it cannot
        model = build_model(recipe)
        if self.accelerator.device.type == "cpu":
            fold_stem(model)
        self.maps: TeacherMaps | None = None
        student: CrossFormer | Student = model
        if recipe.teacher_maps:
            teacher.check_made_of(recipe.teacher_maps, self.photos, recipe.teacher)
            self.maps = TeacherMaps(recipe.teacher_maps, len(self.photos), self.classes)
            student = Student(model, self.maps.components)
        optimizer = make_optimizer(recipe, student)
        self.model, self.optimizer = self.accelerator.prepare(student, optimizer)
        whole = self.accelerator.unwrap_model(self.model)
        self.bare = whole.model if isinstance(whole, Student) else whole
        self.reader = whole.reader if isinstance(whole, Student) else None
        self.ema = (
            ModelEmaV3(self.bare, decay=recipe.ema_decay, use_warmup=True) if recipe.ema_decay else None
        )
        per_epoch = [recipe.steps(phase, len(self.train_indices)) for phase in recipe.phases]
        self.total_steps = sum(n * phase.epochs for n, phase in zip(per_epoch, recipe.phases, strict=True))
        self.scheduler = CosineLRScheduler(
            optimizer,
            t_initial=max(2, self.total_steps),  # for a single step, timm warns that nothing is scheduled
            lr_min=recipe.min_lr,
            warmup_t=min(round(recipe.warmup_epochs * per_epoch[0]), self.total_steps - 1),
            warmup_lr_init=recipe.warmup_lr,
            t_in_epochs=False,
        )
        self.mixup: Mixup | None = None
        if recipe.mix_prob and (recipe.mixup or recipe.cutmix):
            self.mixup = Mixup(recipe.mixup, recipe.cutmix, prob=recipe.mix_prob, label_smoothing=0.0)
        self.soft = self._soft_targets()

    def _soft_targets(self) -> torch.Tensor:
        """Each photo's target before mixing: the smoothed label blended with the teacher's, (n, classes)."""
        recipe, labels = self.recipe, torch.from_numpy(self.photos.labels)
        hard = F.one_hot(labels, self.classes).float()
        hard = hard * (1 - recipe.label_smoothing) + recipe.label_smoothing / self.classes
        if recipe.teacher is None or recipe.teacher_maps:
            return hard
        if recipe.teacher_labels is None:
            raise ValueError(
                f"the teacher {recipe.teacher!r} needs teacher_labels, a file for its soft labels"
            )
        with self.accelerator.main_process_first():
            logits = teacher.soft_labels(self.photos, recipe.teacher, recipe.teacher_labels)
        if logits.shape != tuple(hard.shape):
            raise ValueError(f"{recipe.teacher_labels} is {logits.shape}, expected {tuple(hard.shape)}")
        probs = (torch.from_numpy(logits) / recipe.temperature).softmax(dim=1)
        return (1 - recipe.distill) * hard + recipe.distill * probs

    def _about(self) -> dict[str, Any]:
        """The run's facts in the record of position biases, without paths of this machine."""
        settings = {name: value for name, value in self.recipe.as_dict().items() if name not in MACHINE_PATHS}
        if self.recipe.start_weights:
            settings["start_weights"] = Path(self.recipe.start_weights).name
        return {
            "recipe": settings,
            "data": self.recipe.data_name,
            "steps": self.total_steps,
            "trained_on": len(self.train_indices),
            "held_out": len(self.held_indices),
            "average": self.ema is not None,  # whether the weights are the moving average
        }

    def _average(self) -> nn.Module:
        """The model that the run gives: with the moving average of the weights, if there is one."""
        return self.ema.module if self.ema is not None else self.bare

    # --- state -------------------------------------------------------------------------------------------

    def _resume(self) -> None:
        path = self.out / state.NAME
        if not path.exists():
            return
        found = state.read(self.out)
        self._same_photos(found, path)
        try:
            self.bare.load_state_dict(found["model"])
            if self.reader is not None:
                if found.get("reader") is None:
                    raise ValueError("the run had no teacher_maps")
                self.reader.load_state_dict(found["reader"])
            self.optimizer.load_state_dict(found["optimizer"])
            if self.ema is not None:
                self.ema.module.load_state_dict(found["ema"] or found["model"])
        except (RuntimeError, ValueError, KeyError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ValueError(
                f"{path} was saved by a run with another recipe ({reason}); expected that recipe, or "
                "another --out"
            ) from None
        if self.ema is not None and found["ema"] is None:
            self.say("the moving average starts here: the run had none until now")
        self.epoch, self.step_in_epoch, self.step = found["epoch"], found["step_in_epoch"], found["step"]
        self.seconds, self.saved = found["seconds"], self.step
        self.unreadable = found.get("unreadable", {})
        steps = self.recipe.steps(self.recipe.phase_at(self.epoch), len(self.train_indices))
        if self.step_in_epoch >= steps:
            raise ValueError(
                f"{path} is at step {self.step_in_epoch} of epoch {self.epoch + 1}, which has {steps} steps "
                "in this recipe; expected the recipe of the run, or one that changes later epochs only"
            )
        self._note_changes(found, path)
        if self.epoch >= self.recipe.epochs:
            self.say(f"the run is finished: {self.epoch} epochs, {self.step} steps")
        else:
            self.say(f"resumed at epoch {self.epoch}, step {self.step}")

    def _note_changes(self, found: dict[str, Any], path: Path) -> None:
        """Record what changes mid-run, for the card: settings of the recipe, and what the run is made with.

        Raises:
            ValueError: If the recipe would change a finished run.
        """
        phases = [asdict(Phase(**phase)) for phase in found["recipe"]["phases"]]  # with settings added since
        before, now = {**found["recipe"], "phases": phases}, self.recipe.as_dict()
        changed = [
            name for name in now if name in before and name not in UNRELATED and now[name] != before[name]
        ]
        if changed and self.epoch >= self.recipe.epochs:
            told = ", ".join(f"{name} {before[name]!r}, now {now[name]!r}" for name in changed)
            raise ValueError(
                f"{path} belongs to a finished run, which a changed recipe cannot alter ({told[:300]}); "
                "expected the same recipe, more epochs, or another --out"
            )
        self.changes = list(found.get("changes", []))
        if changed:
            self.say(f"settings that change from here on: {', '.join(changed)}")
        settings = {name: [before[name], now[name]] for name in changed}
        if self.epoch >= self.recipe.epochs:  # nothing is trained any more
            self.made = {name: found[name] for name in self.made if name in found}
        else:
            then = _flat(found)  # an older run kept no commit
            settings |= {
                name: [then.get(name, "unknown"), value]
                for name, value in _flat(self.made).items()
                if then.get(name, "unknown") != value
            }
        if settings:
            self.changes.append({"epoch": self.epoch, "step": self.step, "settings": settings})

    def _same_photos(self, found: dict[str, Any], path: Path) -> None:
        """Refuse classes other than those the run was trained on; print a line if the photos have changed."""
        if found.get("classes", self.photos.classes) != self.photos.classes:
            raise ValueError(
                f"{path} was trained on other classes than those of {self.recipe.data}; expected the folder "
                "of the run, or another --out"
            )
        if found.get("photos", self.identity) != self.identity:
            self.say(f"the photos in {self.recipe.data} have changed since the run was saved")

    def save(self) -> None:
        """Write `last.pt`, unless the weights are no longer finite: then the previous file stays."""
        ema = self.ema.module.state_dict() if self.ema is not None else None
        if not state.finite(self.bare.state_dict()) or not state.finite(ema or {}):
            self.diverged = True
        if self.diverged or not self.accelerator.is_main_process:
            return
        self.out.mkdir(parents=True, exist_ok=True)
        content = {
            "model": self.bare.state_dict(),
            "ema": ema,
            "reader": self.reader.state_dict() if self.reader is not None else None,
            "optimizer": self.optimizer.state_dict(),
            "epoch": self.epoch,
            "step_in_epoch": self.step_in_epoch,
            "step": self.step,
            "seconds": self.seconds,
            "recipe": self.recipe.as_dict(),
            "changes": self.changes,
            "classes": self.photos.classes,
            "photos": self.identity,
            "files": self.files,
            **self.made,
            "unreadable": self.unreadable,
        }
        self.positions.write()
        state.write(self.out, content)
        self.saved = self.step

    def _processor(self) -> str:
        """What the run computes on, for the card: the export may happen elsewhere."""
        device, world = self.accelerator.device, self.accelerator.num_processes
        cpu = f"{platform.machine()}, {torch.get_num_threads()} threads"
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else cpu
        return f"{world} x {name}" if world > 1 else name

    def say(self, line: str) -> None:
        """Print one line, from the main process only."""
        if self.accelerator.is_main_process:
            print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)

    def _log(self, row: dict[str, Any]) -> None:
        if not self.accelerator.is_main_process:
            return
        path = self.out / "log.csv"
        new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, LOG_COLUMNS)
            if new:
                writer.writeheader()
            writer.writerow(row)

    # --- training ----------------------------------------------------------------------------------------

    def fit(self, until: int | None = None) -> nn.Module:
        """Train to the end, or until SIGTERM or SIGINT asks to stop, and return the model to use.

        Args:
            until: The step to stop after, from 1; None goes on to the end. A later call goes on from there.

        Raises:
            ValueError: If the loss or the weights are no longer finite; `last.pt` keeps the state before.
        """
        self.out.mkdir(parents=True, exist_ok=True)
        self.until = until
        previous = {sig: signal.signal(sig, self._ask_to_stop) for sig in (signal.SIGTERM, signal.SIGINT)}
        try:
            while self.epoch < self.recipe.epochs and not self._stops():
                self._epoch()
            self._all_stop()
        finally:
            for sig, handler in previous.items():
                signal.signal(sig, handler)
            self.save()
        self._tell_the_end()
        return self._average()

    def _tell_the_end(self) -> None:
        """Say how the run ended, and what became of every file."""
        if self.epoch < self.recipe.epochs:
            place = f"epoch {self.epoch + 1}/{self.recipe.epochs}, step {self.step}"
            self.say(f"stopped in {place}; run the same command again to resume")
            return
        lines = [f"finished: {self.epoch} epochs, {self.step} steps; {told(self.files)}"]
        if self.unreadable:
            lines.append(f"  {len(self.unreadable)} of the used could not be read at some point, see above")
        self.say("\n".join(lines))

    def _all_stop(self) -> bool:
        """Whether any process was asked to stop, so that all of them stop after the same step.

        Raises:
            ValueError: In every process, if the loss or the weights are not finite in any of them.
        """
        if self.accelerator.num_processes > 1:
            flags = torch.tensor(
                [float(self.stop_asked), float(self.diverged)], device=self.accelerator.device
            )
            stop, diverged = self.accelerator.reduce(flags, reduction="sum").tolist()
            self.stop_asked, self.diverged = stop > 0, diverged > 0
        if self.diverged:
            kept = (
                f"{self.out / state.NAME} keeps step {self.saved}" if self.saved else "nothing was saved yet"
            )
            rate = self.optimizer.param_groups[0]["lr"]
            raise ValueError(
                f"the loss or the weights stopped being finite numbers by step {self.step} (epoch "
                f"{self.epoch + 1}, learning rate {rate:.2g}): training ends here, {kept}; lower lr, or "
                "raise warmup_epochs"
            )
        return self._stops()

    def _stops(self) -> bool:
        """Whether to stop before the end, asked or at the step that `fit` was given."""
        return self.stop_asked or (self.until is not None and self.step >= self.until)

    def _ask_to_stop(self, *_: Any) -> None:
        self.stop_asked = True

    def _epoch(self) -> None:
        recipe, phase = self.recipe, self.recipe.phase_at(self.epoch)
        for model in [self.bare] + ([self.ema.module] if self.ema is not None else []):
            model.set_grouping(*groups_of(recipe, phase))
        if self.ema is not None:
            self.ema.decay = recipe.ema_decay if phase.ema_decay is None else phase.ema_decay
        batches = data.EpochBatches(
            self.train_indices,
            recipe.batch(phase),
            (recipe.seed, self.epoch),
            self.accelerator.process_index,
            self.accelerator.num_processes,
            self.step_in_epoch,
            phase.steps,
        )
        dataset = data.TrainSet(self.photos, phase.size, recipe, self.epoch, phase.scale, self.train_indices)
        self.model.train()
        started = saved = spoken = time.monotonic()
        losses: list[torch.Tensor] = []
        first, checked, at_once = self.step_in_epoch, 0, self.accelerator.device.type == "cpu"
        for x, box, index, asked in data.loader(dataset, recipe.workers, batch_sampler=batches):
            self._replaced(asked[asked != index].tolist())
            losses.append(self._step(x, box, index))
            now = time.monotonic()
            rate = (self.step_in_epoch - first) * recipe.batch(phase) / (now - started)
            speak = now - spoken > 15 or self.step_in_epoch == batches.steps
            save = now - saved > recipe.checkpoint_minutes * 60
            if at_once or speak or save:  # not at every step on a GPU: reading the loss makes it wait
                self.diverged |= not bool(torch.stack(losses[checked:]).isfinite().all())
                checked = len(losses)
            if speak:
                spoken = now
                self._progress(phase, batches.steps, losses, rate)
            if self._all_stop():
                break
            if save:
                saved = now
                self.seconds, started, first = self.seconds + now - started, now, self.step_in_epoch
                self.save()
        self.seconds += time.monotonic() - started
        if self.step_in_epoch == batches.steps:
            self._end_of_epoch(phase, losses, rate)

    def _replaced(self, photos: list[int]) -> None:
        """Report each unreadable photo once, with the reason, as replaced by another."""
        for i in photos:
            name = shown(self.photos.names[i])
            if name not in self.unreadable:
                reason = self.unreadable[name] = self.photos.why(i)
                print(f"{name} can no longer be read; another photo takes its place: {reason}", flush=True)

    def _step(self, x: torch.Tensor, box: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        device = self.accelerator.device
        x, target = x.to(device, non_blocking=True), self.soft[index].to(device)
        if self.mixup is not None:
            x, target = self._mix(x, target)
        # Stochastic depth draws from a seed of its own at every step and in every process.
        data.seed_all(self.recipe.seed, self.step, 1 + self.accelerator.process_index)
        self.optimizer.zero_grad()
        loss = self._gradients(x, target, box, index)
        if self.recipe.clip_grad is not None:
            self.accelerator.clip_grad_norm_(self.model.parameters(), self.recipe.clip_grad)
        self.scheduler.step_update(self.step)
        self.optimizer.step()
        self.step += 1
        self.step_in_epoch += 1
        if self.ema is not None:
            self.ema.update(self.bare, step=self.step)
        if self.accelerator.is_main_process:
            self.positions.note(self.step, self._average())
        return loss

    def _gradients(
        self, x: torch.Tensor, target: torch.Tensor, box: torch.Tensor, index: torch.Tensor
    ) -> torch.Tensor:
        """Accumulate a batch's gradients, in micro-batches if the recipe sets them; return the mean loss."""
        B, size = len(x), self.recipe.micro_batch or len(x)
        total = torch.zeros((), device=x.device)
        for start in range(0, B, size):
            part = slice(start, start + size)
            last = start + size >= B
            with nullcontext() if last else self.accelerator.no_sync(self.model):
                loss = self._loss(x[part], target[part], box[part], index[part]) * (len(x[part]) / B)
                self.accelerator.backward(loss)
            total += loss.detach()
        return total

    def _loss(
        self, x: torch.Tensor, target: torch.Tensor, box: torch.Tensor, index: torch.Tensor
    ) -> torch.Tensor:
        """Cross-entropy; with teacher maps, plus the weighted squared error of the predicted features."""
        recipe = self.recipe
        with self.accelerator.autocast():
            out = self.model(x)
        if self.maps is None:
            return -(target * out.float().log_softmax(dim=1)).sum(dim=1).mean()
        logits, told = out[0].float(), out[1].float()  # B, classes; B, h, w, components
        theirs, features = self.maps.under(index, box, told.shape[1], x.device)
        soft = (theirs / recipe.temperature).softmax(dim=1)
        target = (1 - recipe.distill) * target + recipe.distill * soft
        loss = -(target * logits.log_softmax(dim=1)).sum(dim=1).mean()
        return loss + recipe.feature_weight * F.mse_loss(told, features)

    def _mix(self, x: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Apply mixup or cutmix to the photos and their soft targets, with the same draw in every process."""
        assert self.mixup is not None
        data.seed_all(self.recipe.seed, self.step, 0)
        B = len(x)
        self.mixup.num_classes = B  # each photo its own class: the targets returned are the blend's weights
        x, weights = self.mixup(x, torch.arange(B, device=x.device))
        return x, weights.to(target.dtype) @ target

    def _progress(self, phase: Phase, steps: int, losses: list[torch.Tensor], rate: float) -> None:
        recipe, recent = self.recipe, float(torch.stack(losses[-20:]).mean())
        left = -self.step_in_epoch * recipe.batch(phase) * phase.size**2
        for epoch in range(self.epoch, recipe.epochs):
            later = recipe.phase_at(epoch)
            left += recipe.steps(later, len(self.train_indices)) * recipe.batch(later) * later.size**2
        eta = left / (phase.size**2 * rate)
        self.say(
            f"epoch {self.epoch + 1}/{recipe.epochs} {phase.size}px step {self.step_in_epoch}/{steps} "
            f"loss {recent:.3f} lr {self.optimizer.param_groups[0]['lr']:.2e} {rate:.0f} photos/s "
            f"ETA {int(eta // 3600)}:{int(eta % 3600 // 60):02d}"
        )

    def _end_of_epoch(self, phase: Phase, losses: list[torch.Tensor], rate: float) -> None:
        mean = self.accelerator.reduce(torch.stack(losses).mean(), reduction="mean")
        if self.accelerator.num_processes > 1:
            self.unreadable = dict(gather_object(list(self.unreadable.items())))
        self.epoch, self.step_in_epoch = self.epoch + 1, 0
        top1: float | str = ""
        held_loss: float | str = ""
        due = self.epoch % self.recipe.evaluate_every == 0 or self.epoch == self.recipe.epochs
        if due and len(self.held_indices):
            top1, held_loss = self._held_out(phase)
            self.positions.measured(self.step, top1)
            self.say(f"epoch {self.epoch} held out: top-1 {top1:.2%}, loss {held_loss:.3f}")
        self._log(
            {
                "epoch": self.epoch,
                "step": self.step,
                "size": phase.size,
                "loss": round(float(mean), 6),
                "lr": self.optimizer.param_groups[0]["lr"],
                "photos_per_second": round(rate, 1),
                "seconds": round(self.seconds, 1),
                "held_out_top1": top1,
                "held_out_loss": held_loss,
            }
        )
        self.save()

    def _held_out(self, phase: Phase) -> tuple[float, float]:
        from cfviz.training.measure.evaluation import predict

        photos = data.EvalSet(self.photos, phase.size, self.held_indices)
        logits, labels, _ = predict(
            self._average(), photos, self.accelerator, self.recipe.batch_size, self.recipe.workers
        )
        top1 = float((logits.argmax(1) == labels).mean())
        return top1, float(F.cross_entropy(torch.from_numpy(logits), torch.from_numpy(labels)))
