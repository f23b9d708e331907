"""Makes the demo's base model: a word-level tokenizer that loses nothing, and a tiny Llama trained from scratch on the world's text.

Both are ordinary folders: `AutoTokenizer.from_pretrained` and `AutoModelForCausalLM.from_pretrained` read them, and so does every tool that
reads a Llama. Two conventions hold everywhere. No beginning-of-text token is added (as in GPT-2 and Qwen), so the ids of prompt + reply are
those of the prompt followed by those of the reply; `</s>` ends a reply and stands nowhere else.
"""

import json
import math
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frontier.atomic import replace_folder, write_text
from frontier.errors import InputError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

SPECIAL_TOKENS = ("<pad>", "<s>", "</s>", "<unk>")
# A word takes the one space before it along, as in GPT-2, so that joining the tokens gives back the text with its spaces.
WORD = r" ?[\p{L}\p{N}]+| ?[^\s\p{L}\p{N}]|\s"
CHAT_TEMPLATE = (
    "{%- set last = messages | selectattr('role', 'equalto', 'user') | list | last -%}"
    "{{- 'Customer: ' + (last['content'] | trim) + '\nReply:' -}}"
    "{%- if messages[-1]['role'] == 'assistant' -%}"
    "{{- ' ' + (messages[-1]['content'] | trim) + eos_token -}}"
    "{%- endif -%}"
)
PROMPT_LOSS_WEIGHT = 0.1


def build_tokenizer(texts: Iterable[str]) -> "PreTrainedTokenizerFast":
    """A tokenizer whose vocabulary is every word and mark of the texts; other words become `<unk>`.

    Decoding the ids of a text made of known words gives back exactly that text, spaces and newlines included. The chat template writes the last
    user message as a prompt of the world, `Customer: ...` and `Reply:`.

    Args:
        texts (`Iterable[str]`): everything that must be covered; for the demo world, `moalign.demo.world.all_text()`.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    cut = pre_tokenizers.Split(Regex(WORD), behavior="isolated")
    words = {word for text in texts for word, _ in cut.pre_tokenize_str(text)}
    # Sorted, so that the same world gives the same ids on every machine.
    vocabulary = {word: i for i, word in enumerate([*SPECIAL_TOKENS, *sorted(words)])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = cut
    tokenizer.decoder = decoders.Fuse()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        clean_up_tokenization_spaces=False,
        padding_side="left",
        model_max_length=256,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def build_model(
    tokenizer: "PreTrainedTokenizerBase", seed: int, *, hidden: int = 64, layers: int = 2, heads: int = 4
) -> "PreTrainedModel":
    """A Llama with random weights, input and output embeddings tied; the same seed gives the same weights.

    Args:
        tokenizer (`PreTrainedTokenizerBase`): its vocabulary size and special ids are the model's.
        seed (`int`): of the initial weights; the caller's random state is left as it was.
        hidden (`int`, *optional*, defaults to 64): width.
        layers (`int`, *optional*, defaults to 2): decoder layers.
        heads (`int`, *optional*, defaults to 4): attention heads.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=hidden * 3,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=256,
        initializer_range=0.1,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config)


def train_language_model(
    out_dir: str | os.PathLike[str],
    texts: Sequence[tuple[str, str]],
    seed: int,
    steps: int = 2000,
    *,
    vocabulary: Iterable[str] | None = None,
    held_out: Sequence[tuple[str, str]] = (),
    batch_size: int = 16,
    learning_rate: float = 6e-3,
    hidden: int = 64,
    layers: int = 2,
    progress: bool = True,
) -> dict[str, float]:
    r"""Train a tokenizer and a language model from scratch on (prompt, reply) texts and save both as one ordinary model folder.

    Next-token cross-entropy, in full on the reply and its `</s>` and at weight 0.1 on the prompt (whose words are nearly random). AdamW with
    a short warm-up and a cosine to zero; batches hold texts of like length.

    Args:
        out_dir (`str` or path): the folder to make; it must not exist. It appears only when it is complete.
        texts (`Sequence[tuple[str, str]]`): prompts and replies, each reply with the space that parts it from its prompt.
        seed (`int`): of the weights and of the batches.
        steps (`int`, *optional*, defaults to 2000): updates.
        vocabulary (`Iterable[str]`, *optional*): texts whose words the tokenizer knows; the training texts where not given.
        held_out (`Sequence[tuple[str, str]]`, *optional*): texts to measure on, with prompts that are not trained on.
        batch_size (`int`, *optional*, defaults to 16): texts per update; many small updates learn to copy the item and the name
            sooner than few large ones.
        learning_rate (`float`, *optional*, defaults to 6e-3): the peak.
        hidden (`int`, *optional*, defaults to 64): the model's width.
        layers (`int`, *optional*, defaults to 2): its layers.
        progress (`bool`, *optional*, defaults to `True`): show a progress bar.

    Returns:
        `dict[str, float]`: `train_loss` (nats per reply token, mean of the last tenth of the updates), `seconds`, `parameters`, `steps`; with
        held-out texts also `loss` (nats per reply token), `perplexity` (its exponential) and `nats_per_reply`.

    Raises:
        InputError: there are no texts, `steps` is not positive, or `out_dir` exists.
    """
    import torch
    from tqdm.auto import tqdm

    out = Path(out_dir)
    if not texts:
        raise InputError("train_language_model needs at least one (prompt, reply) text, found none")
    if steps < 1:
        raise InputError(f"steps must be at least 1, found {steps}")
    if out.exists():
        raise InputError(f"{out} already exists: give a new folder, or remove it")
    started = time.monotonic()
    tokenizer = build_tokenizer(vocabulary if vocabulary is not None else (p + r for p, r in texts))
    model = build_model(tokenizer, seed, hidden=hidden, layers=layers).train()
    rows, splits = _encode(tokenizer, texts)
    # No decay on the norms: they are vectors.
    decayed = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    groups = [{"params": decayed, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.98), fused=True)
    warmup = max(1, min(50, steps // 10))

    def schedule(step: int) -> float:
        return min((step + 1) / warmup, 0.5 * (1 + math.cos(math.pi * step / steps)))

    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule)
    # One constant for all batches: dividing by each batch's own tokens would weigh short replies more and make the model too brief.
    tokens_per_batch = batch_size * sum(len(row) - split for row, split in zip(rows, splits, strict=True)) / len(rows)
    losses: list[float] = []
    batches = _batches([len(row) for row in rows], batch_size, steps, seed)
    for batch in (bar := tqdm(batches, total=steps, desc="language model", disable=not progress)):
        ids, reply, prompt = _collate([rows[i] for i in batch], [splits[i] for i in batch])
        token_losses = _token_losses(model, ids)
        loss = (token_losses * (reply + PROMPT_LOSS_WEIGHT * prompt)).sum() / tokens_per_batch
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        losses.append(float((token_losses.detach() * reply).sum() / reply.sum()))
        if len(losses) % 20 == 0:
            bar.set_postfix(loss=f"{losses[-1]:.3f}")
    last = losses[-max(1, steps // 10) :]
    metrics = {
        "train_loss": sum(last) / len(last),
        "seconds": time.monotonic() - started,
        "parameters": float(model.num_parameters()),
        "steps": float(steps),
    }
    model.eval()
    if held_out:
        metrics |= measure_language_model(model, tokenizer, held_out)
    _save(out, model, tokenizer, metrics)
    return metrics


def measure_language_model(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    texts: Sequence[tuple[str, str]],
    *,
    batch_size: int = 64,
) -> dict[str, float]:
    """How well the model foresees replies: `loss` in nats per reply token (`</s>` counts as one), its exponential `perplexity`, and `nats_per_reply`."""
    import torch

    rows, splits = _encode(tokenizer, texts)
    total = tokens = 0.0
    with torch.no_grad():
        for start in range(0, len(rows), batch_size):
            ids, reply, _ = _collate(rows[start : start + batch_size], splits[start : start + batch_size])
            total += float((_token_losses(model, ids) * reply).sum())
            tokens += float(reply.sum())
    loss = total / tokens
    return {"loss": loss, "perplexity": math.exp(loss), "nats_per_reply": total / len(rows)}


def sample_replies(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    prompts: Sequence[str],
    per_prompt: int,
    seed: int,
    *,
    max_new_tokens: int = 40,
    batch_size: int = 512,
) -> list[tuple[str, str]]:
    """Replies drawn from the model itself at temperature 1, `per_prompt` for each prompt, in the prompts' order.

    Args:
        model (`PreTrainedModel`): the base model; a reply ends at its `</s>`.
        tokenizer (`PreTrainedTokenizerBase`): with left padding.
        prompts (`Sequence[str]`): prompts of the world.
        per_prompt (`int`): replies for each.
        seed (`int`): the caller's random state is left as it was.
        max_new_tokens (`int`, *optional*, defaults to 40): longer than any reply of the world (36 tokens with `</s>`).
        batch_size (`int`, *optional*, defaults to 512): replies generated at once.

    Returns:
        `list[tuple[str, str]]`: `(prompt, reply)`, special tokens removed.
    """
    import torch

    repeated = [prompt for prompt in prompts for _ in range(per_prompt)]
    replies: list[str] = []
    generator: Any = model  # transformers types `generate` as a tensor
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for start in range(0, len(repeated), batch_size):
            batch = tokenizer(repeated[start : start + batch_size], return_tensors="pt", padding=True)
            output = generator.generate(
                input_ids=batch["input_ids"],
                attention_mask=batch["attention_mask"],
                do_sample=True,
                temperature=1.0,
                top_k=0,
                top_p=1.0,
                max_new_tokens=max_new_tokens,
            )
            replies += tokenizer.batch_decode(output[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
    return list(zip(repeated, replies, strict=True))


def _encode(
    tokenizer: "PreTrainedTokenizerBase", texts: Sequence[tuple[str, str]]
) -> tuple[list[list[int]], list[int]]:
    """Ids of prompt + reply + `</s>`, and how many of them are the prompt's."""
    prompts = tokenizer([prompt for prompt, _ in texts])["input_ids"]
    replies = tokenizer([reply for _, reply in texts])["input_ids"]
    rows = [[*p, *r, tokenizer.eos_token_id] for p, r in zip(prompts, replies, strict=True)]
    return rows, [len(p) for p in prompts]


def _batches(lengths: Sequence[int], batch_size: int, steps: int, seed: int) -> Iterable[list[int]]:
    """`steps` batches of row numbers of like length, in random order; every row comes once per pass."""
    import numpy as np

    rng = np.random.default_rng(seed)
    made = 0
    while made < steps:
        # Sorting noisy lengths: little padding, yet other companions in every pass.
        order = np.argsort(np.asarray(lengths) + rng.uniform(0, 4, len(lengths)), kind="stable")
        batches = [order[i : i + batch_size].tolist() for i in range(0, len(order), batch_size)]
        for i in rng.permutation(len(batches))[: steps - made]:
            yield batches[i]
            made += 1


def _collate(
    rows: Sequence[Sequence[int]], splits: Sequence[int]
) -> tuple["torch.Tensor", "torch.Tensor", "torch.Tensor"]:
    """Right-padded ids `[B, T]`, and for the T-1 predicted tokens masks `[B, T-1]`: those of the reply, those of the prompt."""
    import torch

    width = max(len(row) for row in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    reply, prompt = torch.zeros(len(rows), width), torch.zeros(len(rows), width)
    for i, (row, split) in enumerate(zip(rows, splits, strict=True)):
        ids[i, : len(row)] = torch.tensor(row)
        prompt[i, :split] = 1
        reply[i, split : len(row)] = 1
    return ids, reply[:, 1:], prompt[:, 1:]


def _token_losses(model: "PreTrainedModel", ids: "torch.Tensor") -> "torch.Tensor":
    """Cross-entropy `[B, T-1]` of each next token. Padding is on the right, where a causal model's earlier tokens cannot see it."""
    import torch

    logits = model(input_ids=ids, use_cache=False).logits[:, :-1]
    return torch.nn.functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")


def _save(out: Path, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", metrics: dict[str, Any]) -> None:
    with replace_folder(out) as folder:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        write_text(folder / "training.json", json.dumps(metrics, indent=2) + "\n")
