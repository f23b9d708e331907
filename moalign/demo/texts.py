"""Every sentence of the demo's support desk: what customers write, and what a reply may say.

`{name}`, `{colour}`, `{item}` and `{day}` are slots; a sentence may not use one of their words otherwise. A sentence of a reply has at most seven
tokens, so that five of them fit into 40 new tokens.
"""

from dataclasses import dataclass

NAMES = (
    "Anna",
    "Ben",
    "Clara",
    "David",
    "Emma",
    "Felix",
    "Grace",
    "Henry",
    "Iris",
    "Jack",
    "Leo",
    "Mia",
    "Noah",
    "Olga",
    "Paul",
    "Rosa",
    "Sam",
    "Tara",
    "Victor",
    "Zoe",
)
COLOURS = ("red", "blue", "green", "black", "white", "grey", "yellow", "brown")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
ELECTRIC = ("lamp", "kettle", "clock", "radio", "toaster", "heater")
FURNITURE = ("chair", "desk", "shelf", "mirror", "stool", "bench")
CLOTHES = ("jacket", "sweater", "shirt", "coat", "dress", "hat", "skirt", "hoodie")
ITEMS = ELECTRIC + FURNITURE + CLOTHES

OPENINGS = (
    "Hi, this is {name}.",
    "Hello, my name is {name}.",
    "Good morning, {name} here.",
    "Dear shop, I am {name}.",
)
QUESTIONS = ("What can I do?", "Can you help me?", "What happens now?", "Please tell me more.")

# A fact has two wordings: saying it in both is repeating it.
FACTS = {
    "new one": ("We will send a new {item}.", "A new {item} ships today."),
    "three days": ("It will arrive in three days.", "Delivery takes three days."),
    "return label": ("We will email a return label.", "A {item} label comes by email."),
    "keep box": ("Please keep the {item} box.", "Do not throw the box away."),
    "collected": ("A courier will collect your {item}.", "The courier picks the {item} up."),
    "free": ("This costs you nothing.", "We pay for the postage."),
    "to card": ("The refund goes to your card.", "We will refund the {item}."),
    "five days": ("Refunds take five days.", "Expect the money in five days."),
    "tracing": ("We are tracing your {item} now.", "The courier has the {item}."),
    "photo": ("Please send us a photo.", "A photo of the {item} helps."),
    "size chart": ("Our size chart is online.", "Please check the size chart."),
    "other size": ("We will send another size.", "We will swap the {item}."),
    "stopped": ("We stopped the {item} order.", "Your {item} will not ship."),
    "address": ("Please confirm your address.", "Tell us your address again."),
    "order number": ("Please send your order number.", "We need your order number."),
    "received": ("We have received your {item}.", "Your {item} reached us safely."),
    "confirmation": ("You will get a confirmation.", "A confirmation comes tonight."),
    "unused": ("The {item} must be unused.", "Please do not use the {item}."),
}

WARM = (
    "I am so sorry about that.",
    "I am truly sorry, {name}.",
    "Please forgive us, {name}.",
    "That must be so annoying.",
    "I understand how you feel.",
    "Thank you for writing to us.",
    "Thank you so much, {name}!",
    "You are very kind.",
    "We are happy to help you.",
    "We really care about you.",
    "Have a lovely day!",
    "Take good care, {name}!",
    "Warm wishes from all of us!",
)

FILLERS = (
    "Noted.",
    "All right.",
    "Let me see.",
    "We got your message.",
    "You have reached our team.",
    "Your order is in our system.",
    "It is a busy week here.",
    "We sell many things.",
)


@dataclass(frozen=True)
class Problem:
    """What can go wrong: which items it happens to, how customers put it, and the names of the facts that help."""

    items: tuple[str, ...]
    statements: tuple[str, ...]
    facts: tuple[str, ...]


PROBLEMS = {
    "late": Problem(
        ITEMS,
        ("My {colour} {item} has not arrived.", "I still wait for my {colour} {item}."),
        ("tracing", "new one", "three days", "address", "order number", "free"),
    ),
    "broken": Problem(
        ELECTRIC + FURNITURE,
        ("My {colour} {item} arrived broken on {day}.", "On {day} my {colour} {item} came in pieces."),
        ("new one", "keep box", "collected", "photo", "free", "three days"),
    ),
    "wrong size": Problem(
        CLOTHES,
        ("My {colour} {item} is too small.", "The {colour} {item} is too big for me."),
        ("other size", "size chart", "return label", "free", "unused", "collected"),
    ),
    "refund": Problem(
        ITEMS,
        ("I sent my {colour} {item} back on {day}.", "I still miss the money for my {colour} {item}."),
        ("received", "to card", "five days", "confirmation", "order number", "free"),
    ),
    "cancel": Problem(
        ITEMS,
        ("I want to cancel my {colour} {item}.", "I no longer need the {colour} {item} from {day}."),
        ("stopped", "to card", "five days", "confirmation", "free", "order number"),
    ),
}
