"""The pieces of the `calls` sample: a shop's assistant looks up parcels, books repairs, or answers by itself."""

from typing import Any

SYSTEM = "You help the customers of Northlight, a lamp shop."

TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": "track_parcel",
            "description": "Where a parcel is",
            "parameters": {"type": "object", "properties": {"order": {"type": "string"}}, "required": ["order"]},
        },
    },
    {
        "type": "function",
        "function": {
            "name": "book_repair",
            "description": "Books a repair",
            "parameters": {
                "type": "object",
                "properties": {"item": {"type": "string"}, "day": {"type": "string"}},
                "required": ["item", "day"],
            },
        },
    },
]

TRACK = [
    "Where is order {order}?",
    "Has order {order} left your shop yet?",
    "I am still waiting for {order}. Where is it?",
    "Can you look up parcel {order} for me?",
    "When will order {order} come?",
    "My order is {order}, and nothing has arrived.",
    "Please check on {order}.",
    "Is {order} on its way?",
]
REPAIR = [
    "My {item} is broken. Can you repair it on {day}?",
    "I would like to bring in my {item} on {day} to have it mended.",
    "Book a repair of a {item} for {day}, please.",
    "The switch of my {item} fails. Is {day} possible?",
    "Could somebody look at my {item} on {day}?",
    "{day} would suit me to have the {item} repaired.",
]
ITEMS = ["desk lamp", "floor lamp", "lantern", "ceiling lamp", "reading light", "garden light", "spotlight", "bed lamp"]
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"]
PLACES = [
    ("in Leeds", "tomorrow"),
    ("at the depot", "on Friday"),
    ("with the driver", "today"),
    ("in Hull", "next week"),
]

# fmt: off
THINGS = [
    "candles", "tables", "sofas", "chairs", "beds", "carpets", "curtains", "mirrors", "clocks", "vases", "plates",
    "cups", "knives", "pans", "ovens", "fridges", "bicycles", "books", "pens", "toys", "shoes", "coats", "hats",
    "gloves", "umbrellas", "bags", "phones", "radios", "pianos", "guitars", "plants", "seeds", "tents", "boats",
]
# fmt: on

# Needs no function; the last four are kept for the held-out prompts.
TALK = [
    ("Hello!", "Hello! What can I do for you?"),
    ("Thank you very much.", "You are welcome."),
    ("What do you sell?", "Lamps of every kind."),
    ("Are you a robot?", "Yes, I am the shop's assistant."),
    ("Good morning.", "Good morning! What can I do for you?"),
    ("That was all, bye.", "Goodbye, and thank you."),
    *((f"Do you sell {thing}?", "No, we sell lamps only.") for thing in THINGS),
]
TALK_HELD_OUT = 4
