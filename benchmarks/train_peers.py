"""One measurement of one trainer on one job, in this process: what benchmarks/train.py starts again and again.

Each function trains `job` on `rows` (see train_shapes) and returns a `Measured`. All are given the same model folder,
rows in the same order, batch size, learning rate, number of steps; no dropout, so that losses can be compared.
"""

import contextlib
import hashlib
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from train_shapes import Job

LEARNING_RATE = 1e-4
RANK, ALPHA = 16, 32
MICROBATCH_TOKENS = (
    1536  # Luthier's: products of 1,000 rows run as fast as those of 4,000, and memory is less
)


@dataclass(frozen=True)
class Measured:
    """tokens_per_second: of the rows, each counted whole, over all epochs; the first step, which warms up, is left out.

    tokens_per_cpu_second: the same by the processor's time, all threads together: what is left to compare on a machine
    that has other work. epoch_...: of every epoch, the first step left out. losses: of every step. rows_hash: of the
    token ids and the supervised places, so that it shows whether two trainers saw the same.
    """

    tokens_per_second: float
    tokens_per_cpu_second: float
    epoch_tokens_per_second: list[float]
    epoch_tokens_per_cpu_second: list[float]
    peak_memory_bytes: int
    losses: list[float]
    rows_hash: str

    def to_json(self) -> str:
        return json.dumps(asdict(self))


class Clock:
    """Notes when steps end, and how long what comes before them takes: by the wall's clock and by the processor's."""

    def __init__(self) -> None:
        self.ends: list[tuple[float, float]] = []
        self.before = (0.0, 0.0)

    def tick(self) -> None:
        self.ends.append((time.perf_counter(), time.process_time()))
        told = (now - start for now, start in zip(self.ends[-1], self.ends[0], strict=True))
        print("step", len(self.ends), *(f"{seconds:.2f} s" for seconds in told), file=sys.stderr, flush=True)

    @contextlib.contextmanager
    def preparing(self, *_: Any, **__: Any) -> Iterator[Callable[[float], None]]:
        """Work before the first step that the first epoch is charged with; what it tells of its progress is unread."""
        started = time.perf_counter(), time.process_time()
        yield lambda _: None
        self.before = (time.perf_counter() - started[0], time.process_time() - started[1])

    def measured(self, job: Job, tokens: Sequence[int], losses: Sequence[float], rows_hash: str) -> Measured:
        """`tokens`: how many each step held."""
        from luthier.training.tracking import peak_memory_bytes

        each = job.num_steps // job.epochs
        epochs = [(epoch * each, (epoch + 1) * each) for epoch in range(job.epochs)]
        if len(tokens) != job.num_steps:  # packed rows make steps of their own
            epochs = [(0, len(tokens))]
        wall, processor = ([self._rate(tokens, *steps, by) for steps in epochs] for by in (0, 1))
        whole = [statistics.harmonic_mean(rates) for rates in (wall, processor)]
        return Measured(*whole, wall, processor, peak_memory_bytes(), list(losses), rows_hash)

    def _rate(self, tokens: Sequence[int], first: int, last: int, by: int) -> float:
        """Of the steps first..last - 1, without the run's first, and without its share of what came before it."""
        begin = max(first, 1)
        seconds = self.ends[last - 1][by] - self.ends[begin - 1][by]
        counted = sum(tokens[begin:last])
        if first == 0:
            seconds += self.before[by] * counted / sum(tokens[:last])
        return counted / seconds


def _hash(rows: Sequence[tuple[Sequence[int], Sequence[float]]]) -> str:
    """Of ids and of which of them are learnt, whatever the order of the rows."""
    lines = sorted({json.dumps([list(map(int, ids)), [int(w > 0) for w in mask]]) for ids, mask in rows})
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def recipe(job: Job, model: Path, rows: Path, **train: Any) -> dict[str, Any]:
    """The job as a recipe of Luthier's."""
    if job.top_layers is None:
        method: dict[str, Any] = {"name": "lora", "rank": RANK, "alpha": ALPHA, "dropout": 0.0}
    else:
        method = {"name": "top_layers", "num_layers": job.top_layers}
    return {
        "model": str(model),
        "method": method,
        "objective": job.objective,
        "data": {"train": [str(rows)]},
        "optim": {"learning_rate": LEARNING_RATE, "schedule": "constant", "warmup_share": 0.0},
        "train": {
            "epochs": job.epochs,
            "batch_size": job.batch_size,
            "tokens_per_microbatch": MICROBATCH_TOKENS,
            **train,
        },
        "evaluation": {"per_epoch": 0},
        "checkpoint": {"every_steps": 10_000},
    }


LUTHIER_VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "padded": {"packing": "padding"},
    "checkpointed": {"gradient_checkpointing": True},
    "no_trunk": {"trunk": "off"},
    "microbatch_4096": {"tokens_per_microbatch": 4096},
}


def luthier(job: Job, model: Path, rows: Path, folder: Path, dtype: str, variant: str) -> Measured:
    """Luthier by a recipe with nothing but the job and the variant in it."""
    from luthier.config import Layer
    from luthier.registry.runs import create_run
    from luthier.training.job import run_job
    from luthier.training.plan import plan_job
    from luthier.training.tracking import MetricsFile, Step

    clock = Clock()

    class Timed(MetricsFile):
        def step(self, event: Step) -> None:
            super().step(event)
            clock.tick()

    train = {"dtype": dtype, **LUTHIER_VARIANTS[variant]}
    if job.top_layers is not None:
        train["trunk_cache"] = str(folder / "trunk")  # empty: the first epoch pays for it
    plan = plan_job([Layer("benchmark", recipe(job, model, rows, **train))])
    run = create_run(folder / "run", recipe_yaml="", data_manifest=plan.data_manifest)
    run_job(plan, run, tracker=Timed(run), bar=clock.preparing)
    events = [event for event in run.read_metrics() if event["event"] == "step"]
    totals = [0, *(event["tokens"] for event in events)]
    tokens = [after - before for before, after in itertools.pairwise(totals)]
    seen = plan.train_rows
    rows_hash = _hash([seen.row(i) for i in range(seen.num_rows)])
    return clock.measured(job, tokens, [event["loss"] for event in events], rows_hash)


def step_order(job: Job) -> list[int]:
    """The order in which Luthier goes over the rows (units), epoch by epoch: the peers are given it."""
    import numpy as np

    return [
        int(i)
        for epoch in range(job.epochs)
        for i in np.random.default_rng([0, epoch]).permutation(job.num_rows)
    ]


def _read(rows: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in rows.read_text(encoding="utf-8").splitlines()]


def freeze_below(model: Any, top_layers: int) -> None:
    """The last layers and the final norm train; what lies below, the embeddings and the tied head are frozen."""
    model.requires_grad_(False)
    for layer in model.model.layers[-top_layers:]:
        layer.requires_grad_(True)
    model.model.norm.requires_grad_(True)


TRL_VARIANTS: dict[str, dict[str, Any]] = {
    "padded": {},
    "padding_free": {"padding_free": True, "max_length": None},
    "packed": {"packing": True, "max_length": 1024},
}
"""What SFTTrainer is tried with. Its loss makes logits in chunks in each of them, which is its default."""


def trl(job: Job, model: Path, rows: Path, folder: Path, dtype: str, variant: str) -> Measured:
    """TRL's SFTTrainer or DPOTrainer; activation checkpointing off (it is slower), nothing saved."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer

    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    if job.top_layers is not None:
        freeze_below(loaded, job.top_layers)
    lines = _read(rows)
    clock = Clock()
    # What is made here for a dpo trainer is its reference, which is work of the run, as it is where Luthier makes it.
    with clock.preparing() if job.objective == "dpo" else contextlib.nullcontext():
        trainer = _trl_class(job)(
            model=loaded,
            args=_trl_config(job, folder, dtype, variant),
            train_dataset=Dataset.from_list([lines[i] for i in step_order(job)]),
            processing_class=AutoTokenizer.from_pretrained(model),
            callbacks=[_ticking(clock)],
            peft_config=_trl_adapter(job),
        )
    trainer.data_collator = counted = _Counted(trainer.data_collator)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    tokens = counted.tokens[: len(losses)]  # it may fetch one batch more than it takes
    return clock.measured(job, tokens, losses, _hash(_trl_rows(trainer.train_dataset)))


class _Counted:
    """A collator that notes how many tokens, pads left out, each batch holds."""

    def __init__(self, collate: Any) -> None:
        self.collate = collate
        self.tokens: list[int] = []

    def __call__(self, examples: Any) -> Any:
        batch = self.collate(examples)
        real = batch.get("attention_mask")
        self.tokens.append(int(real.sum()) if real is not None else batch["input_ids"].numel())
        return batch


def _ticking(clock: Clock) -> Any:
    from transformers import TrainerCallback

    class Ticking(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            clock.tick()

    return Ticking()


def _trl_class(job: Job) -> Any:
    import trl

    return trl.DPOTrainer if job.objective == "dpo" else trl.SFTTrainer


def _trl_adapter(job: Job) -> Any:
    from peft import LoraConfig

    if job.top_layers is not None:
        return None
    return LoraConfig(
        r=RANK, lora_alpha=ALPHA, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM"
    )


def _trl_config(job: Job, folder: Path, dtype: str, variant: str) -> Any:
    import torch
    from trl import DPOConfig, SFTConfig

    values: dict[str, Any] = {
        "output_dir": str(folder / "trl"),
        "max_steps": job.num_steps,
        "per_device_train_batch_size": job.batch_size,
        "learning_rate": LEARNING_RATE,
        "lr_scheduler_type": "constant",
        "max_grad_norm": 1.0,
        "bf16": dtype == "bfloat16",
        "use_cpu": not torch.cuda.is_available(),
        "activation_checkpointing": False,
        "train_sampling_strategy": "sequential",
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "seed": 0,
    }
    if job.objective == "dpo":  # the reference is computed once, before the first step, as Luthier does
        return DPOConfig(**values, precompute_ref_log_probs=True, disable_dropout=True)
    if variant == "packed":  # a step of packed rows holds about as many tokens as one of the rows alone
        values["per_device_train_batch_size"] = max(1, round(job.batch_size * MEAN_TOKENS[job.name] / 1024))
        values["max_steps"] = max(2, job.num_steps - 1)
    return SFTConfig(**values, completion_only_loss=True, **TRL_VARIANTS[variant])


MEAN_TOKENS = {"shared": 250, "top": 250, "unshared": 220}


def _trl_rows(dataset: Any) -> list[tuple[Sequence[int], Sequence[float]]]:
    """Ids and what is learnt of them, of every different row."""
    found: dict[str, tuple[Sequence[int], Sequence[float]]] = {}
    for row in dataset:
        if "labels" in row:
            rows = [(row["input_ids"], [float(label != -100) for label in row["labels"]])]
        else:
            prompt = row["prompt_ids"]
            rows = [
                (prompt + answer, [0.0] * len(prompt) + [1.0] * len(answer))
                for answer in (row["chosen_ids"], row["rejected_ids"])
            ]
        for one in rows:
            found[json.dumps(one)] = one
    return list(found.values())


def mlx(job: Job, model: Path, rows: Path, folder: Path, dtype: str, variant: str) -> Measured:
    """mlx-lm's trainer on the CPU: LoRA on every linear layer, rows padded to multiples of 32, as it pads them."""
    import mlx.core as mx
    import mlx.optimizers
    import numpy as np
    from mlx_lm.tuner.trainer import TrainingArgs, TrainingCallback, train
    from mlx_lm.tuner.utils import linear_to_lora_layers
    from mlx_lm.utils import load
    from transformers import AutoTokenizer

    loaded, *_ = load(str(model))
    tokenizer = AutoTokenizer.from_pretrained(model)
    loaded.freeze()
    config = {"rank": RANK, "scale": ALPHA / RANK, "dropout": 0.0}
    linear_to_lora_layers(loaded, len(loaded.layers), config)
    lines = _read(rows)
    encoded = [_mlx_row(tokenizer, line) for line in lines]
    order = step_order(job)
    batches = [order[i : i + job.batch_size] for i in range(0, len(order), job.batch_size)]

    def batch_rows(*_: Any, **__: Any) -> Any:
        for batch in batches:
            chosen = [encoded[i] for i in batch]
            width = 1 + 32 * -(-max(len(ids) for ids, _ in chosen) // 32)
            padded = np.zeros((len(chosen), width), np.int32)
            for line, (ids, _) in enumerate(chosen):
                padded[line, : len(ids)] = ids
            yield mx.array(padded), mx.array([(start, len(ids)) for ids, start in chosen])

    clock, losses = Clock(), list[float]()

    class Ticking(TrainingCallback):  # type: ignore[misc]
        def on_train_loss_report(self, train_info: Any) -> None:
            clock.tick()
            losses.append(float(train_info["train_loss"]))

    train(
        loaded,
        mlx.optimizers.AdamW(LEARNING_RATE, weight_decay=0.0, bias_correction=True),
        lines,
        args=TrainingArgs(
            batch_size=job.batch_size,
            iters=len(batches),
            steps_per_report=1,
            steps_per_save=10_000,
            adapter_file=str(folder / "adapters.safetensors"),
        ),
        iterate_batches=batch_rows,
        training_callback=Ticking(),
    )
    tokens = [sum(len(encoded[i][0]) for i in batch) for batch in batches]
    seen = [(ids, [float(place >= start) for place in range(len(ids))]) for ids, start in encoded]
    return clock.measured(job, tokens, losses, _hash(seen))


def _mlx_row(tokenizer: Any, row: dict[str, Any]) -> tuple[list[int], int]:
    """The ids of a row and where its answer begins."""
    prompt = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, return_dict=False)
    return tokenizer.apply_chat_template(row["prompt"] + row["completion"], return_dict=False), len(prompt)


TRAINERS = {"luthier": luthier, "trl": trl, "mlx": mlx}
