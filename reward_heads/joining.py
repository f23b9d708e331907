"""One text out of a prompt and a completion, the same in training, scoring and any other program that reads the model."""

from dataclasses import dataclass
from typing import Any

from frontier.errors import InputError, unknown_name
from reward_heads.text import Text, as_messages, is_conversational, message_content

CONVERSATIONAL = ("chat_template", "roles")


@dataclass(frozen=True)
class Joining:
    """How a prompt and a completion become one text.

    Standard: prompt + completion. Conversational: the tokenizer's chat template, or one line `role: content` per message if it has none.
    The text is tokenized with the tokenizer's own special tokens, so `pipeline("text-classification")` on it gives the same scores.

    Args:
        conversational (`str`): `"chat_template"` or `"roles"`.
        append_eos (`bool`): end the text with the end-of-sequence token, so that a model that pools its last token can tell a finished
            completion from one that was cut off.

    Raises:
        InputError: `conversational` is neither.
    """

    conversational: str
    append_eos: bool

    def __post_init__(self) -> None:
        if self.conversational not in CONVERSATIONAL:
            raise unknown_name("way of joining a conversation", self.conversational, CONVERSATIONAL)

    @classmethod
    def for_tokenizer(cls, tokenizer: Any) -> "Joining":
        """The way that suits a tokenizer.

        The end token is left out where the tokenizer adds it by itself, and where it is also the padding token: a decoder pools the last
        token that is not padding, so it would never see it.
        """
        eos = tokenizer.eos_token_id
        adds_it = eos is not None and tokenizer("a")["input_ids"][-1:] == [eos]
        append_eos = eos is not None and not adds_it and eos != tokenizer.pad_token_id
        return cls("chat_template" if tokenizer.chat_template else "roles", append_eos)

    def __call__(self, tokenizer: Any, prompt: Text, completion: Text) -> str:
        """The joined text. If only one of the two is conversational, the other becomes a message of the user or the assistant.

        Raises:
            InputError: a text that is neither a string nor messages, or messages that the chat template refuses.
        """
        if is_conversational(prompt) or is_conversational(completion):
            messages = as_messages(prompt, role="user") + as_messages(completion, role="assistant")
            text = self._conversation(tokenizer, messages)
        else:
            text = f"{prompt}{completion}"
        if self.append_eos and not text.rstrip().endswith(tokenizer.eos_token):
            text += tokenizer.eos_token
        return text

    def _conversation(self, tokenizer: Any, messages: list[dict[str, str]]) -> str:
        if self.conversational == "roles":
            return "\n".join(f"{message.get('role', 'user')}: {message_content(message)}" for message in messages)
        try:
            text = tokenizer.apply_chat_template(messages, tokenize=False)
        except Exception as error:  # templates raise their own kinds, from jinja2 or by raise_exception()
            raise InputError(f"the tokenizer's chat template refuses the conversation {messages!r}: {error}") from error
        # The tokenizer will put its own first token in front: the template's would be a second one.
        bos = tokenizer.bos_token
        if bos and tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]:
            text = text.removeprefix(bos)
        return text
