"""Turn a loaded model into one soup after another, in place and exactly, without reading it again."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from frontier.errors import InputError
from frontier.realize.lora_folder import LoraFolder
from frontier.realize.soup.blocks import place_of
from frontier.realize.soup.experts import Experts, Part, change_of, tensors_of
from frontier.realize.soup.soup import Soup

Coefficients = tuple[float, ...]


class SoupedModel:
    r"""A model whose weights are those of any soup of its experts: $W_0 + \sum_k c_k \Delta_k$, each tensor computed anew from the base's copy.

    Nothing accumulates: after any number of soups the base comes back bit for bit. Of low-rank experts a layer costs one thin product, `[d_out, Σ r] [Σ r, d_in]`, in float32 and rounded
    once, far less than answering a prompt; the model then runs at the base's own speed, whatever the experts' ranks. A tensor whose coefficients did not change is left as it is. The price is a
    copy of the tensors that the experts change.

    Where the base ties its output layer to its input embedding and an adapter sits on one of them, the two are untied first, as in the running PEFT model.

    Args:
        model (`nn.Module`): the base, as transformers loads it.
        experts (`Experts`): over this base.

    Raises:
        InputError: the experts change a tensor that the base does not have or has in another shape.
    """

    def __init__(self, model: nn.Module, experts: Experts) -> None:
        self.model, self.experts = model, experts
        self._touched = [frozenset(tensors_of(part)) for part in experts.parts]
        _untie(model, experts)
        self._own = {name: _parameter(model, name, experts) for name in self._names()}
        self._base = {name: parameter.detach().clone() for name, parameter in self._own.items()}
        # What the tensors hold now; nothing of any part at first.
        self._now: dict[str, Coefficients] = dict.fromkeys(self._own, (0.0,) * len(experts.parts))
        self._factors: dict[tuple[int, str], tuple[Tensor, Tensor]] = {}
        self._soup: Soup | None = None
        for i, part in enumerate(experts.parts):
            for name in tensors_of(part):
                if name in self._own:
                    self._prepare(i, part, name)

    @property
    def soup(self) -> Soup | None:
        """What the model is now; `None` = the base."""
        return self._soup

    @contextmanager
    def use(self, soup: Soup | None) -> Iterator[nn.Module]:
        """Inside the context the model is this soup (`None`: the base); afterwards what it was before."""
        before = self._soup
        self.become(soup)
        try:
            yield self.model
        finally:
            self.become(before)

    @torch.no_grad()
    def become(self, soup: Soup | None) -> None:
        """Make the model this soup, or the base."""
        wanted = Soup.base(self.experts.names) if soup is None else soup
        mixed = {place: self.experts.of_parts(wanted, place) for place in self.experts.places}
        for name, parameter in self._own.items():
            coefficients = mixed[place_of(name)]
            if coefficients != self._now[name]:
                parameter.copy_(self._souped(name, coefficients))
                self._now[name] = coefficients
        self._soup = soup

    def _souped(self, name: str, coefficients: Coefficients) -> Tensor:
        base = self._base[name]
        used = [(i, c) for i, c in enumerate(coefficients) if c != 0 and name in self._touched[i]]
        if not used:
            return base
        total = base.to(torch.promote_types(base.dtype, torch.float32))
        thin = [(self._factors[i, name], c) for i, c in used if (i, name) in self._factors]
        if thin:
            left = torch.cat([up * c for (up, _), c in thin], dim=1)
            total = torch.addmm(total, left, torch.cat([down for (_, down), _ in thin], dim=0))
        for i, c in used:
            if (i, name) not in self._factors:
                total = total + change_of(self.experts.parts[i], name, self._base) * c
        return total

    def _prepare(self, i: int, part: Part, name: str) -> None:
        """Keep the factors of a low-rank change on the model's device, in the orientation of its tensor; refuse what does not fit."""
        pair = _low_rank(part, name, self.model)
        if pair is None:
            return
        base = self._base[name]
        left, right = pair
        if (left.shape[0], right.shape[1]) != tuple(base.shape):
            raise InputError(
                f"{cast('LoraFolder', part).path}: '{name}' must be {[left.shape[0], right.shape[1]]}, the base's is {list(base.shape)}: this is not the adapter's base"
            )
        wide = torch.promote_types(base.dtype, torch.float32)
        self._factors[i, name] = (left.to(base.device, wide), right.to(base.device, wide))

    def _names(self) -> list[str]:
        """The tensors that the experts change; one that is tied to another of them is that one."""
        owned = {name for name, _ in self.model.named_parameters()}
        tied = {name for name, _ in self.model.named_parameters(remove_duplicate=False)} - owned
        return [name for name in self.experts.tensors if name not in tied]


def _low_rank(part: Part, name: str, model: nn.Module) -> tuple[Tensor, Tensor] | None:
    """Two factors whose product is what a part changes in a tensor, where that is so."""
    module, _, leaf = name.rpartition(".")
    if not isinstance(part, LoraFolder) or leaf != "weight" or name in part.whole or module not in part.modules:
        return None
    lora = part.modules[module]
    if lora.magnitude is not None or lora.copy is not None:
        return None
    up, down = lora.factors()
    # Embeddings and GPT-2's Conv1D keep their weight as [d_in, d_out].
    flipped = lora.embedding or type(model.get_submodule(module)).__name__ == "Conv1D"
    return (down.T, up.T) if flipped else (up, down)


def _parameter(model: nn.Module, name: str, experts: Experts) -> nn.Parameter:
    try:
        return model.get_parameter(name)
    except AttributeError as error:
        part = next(part for part in experts.parts if name in tensors_of(part))
        where = part.path if isinstance(part, LoraFolder) else part.folder
        raise InputError(f"{where} changes '{name}', which the base does not have: this is not its base") from error


def _untie(model: nn.Module, experts: Experts) -> None:
    """Give the output layer its own tensor, where it shares the embedding's and an adapter changes one of them."""
    loaded = cast("Any", model)
    if not hasattr(loaded, "get_output_embeddings"):
        return
    head, embedding = loaded.get_output_embeddings(), loaded.get_input_embeddings()
    if head is None or embedding is None or head.weight is not embedding.weight:
        return
    names = {f"{path}.weight" for path, module in model.named_modules() if module in (head, embedding)}
    changed: Sequence[str] = [n for part in experts.parts if isinstance(part, LoraFolder) for n in part.tensors]
    if names & set(changed):
        head.weight = nn.Parameter(head.weight.detach().clone(), requires_grad=head.weight.requires_grad)
        loaded.config.tie_word_embeddings = False
