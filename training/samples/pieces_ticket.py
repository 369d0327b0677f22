"""Hand-written pieces of the ticket task: what customers of a small shop for coffee and tea things write."""

SYSTEM = (
    "Turn the message into a ticket: one JSON object with category (delivery, defect, return, billing, question), "
    "product, order (or null), priority (low, normal, high), mood (calm, happy, upset)."
)

PRODUCTS = ["grinder", "kettle", "espresso machine", "scale", "thermos", "teapot"]

SITUATIONS: dict[str, list[str]] = {
    "delivery": [
        "The {p} was due on Monday and has not arrived.",
        "Tracking for my {p} has stood at the depot for six days.",
        "The courier says the {p} was handed over, but nobody here has seen a parcel.",
        "I am still waiting for the {p} I bought two weeks ago.",
        "The parcel came without the {p}; only the filters were in it.",
        "My {p} went to my old address although I changed it.",
        "The driver left a card and took the {p} back, can it be sent out again?",
        "Can you send the {p} to the pick-up point instead of my flat?",
        "The shipping mail for the {p} never came, has it left your warehouse?",
        "Half of my parcel is here, the {p} is missing.",
        "The delivery of my {p} was moved for the third time.",
        "Please hold the {p} back until the 20th, nobody is home to take the parcel.",
    ],
    "defect": [
        "The {p} stopped working after three days.",
        "There is a crack in the {p} that I only saw after unpacking.",
        "The {p} does not switch on any more.",
        "The lid of the {p} broke off when I opened it.",
        "My {p} leaks all over the table.",
        "The {p} makes a loud scraping noise and smells burnt.",
        "The display of the {p} shows nothing but a blinking line.",
        "Rust has come through on the inside of the {p}.",
        "The handle of the {p} is loose and cannot be tightened.",
        "The {p} arrived with a dent and does not close.",
        "The button on the {p} is stuck since yesterday.",
        "The {p} gets so hot outside that I burnt my hand.",
    ],
    "return": [
        "I would like to send the {p} back, it is unused.",
        "The {p} is bigger than I thought, how do I return it?",
        "Please send me a return label for the {p}.",
        "I was given the same {p} twice and want to return one.",
        "The colour of the {p} does not suit us, I want to give it back.",
        "Can I swap the {p} for the smaller model?",
        "I changed my mind about the {p} and would like to return it.",
        "The {p} was a present and she already has one, can it go back?",
        "I posted the {p} back to you last week, did the return reach you?",
        "We would rather have a different {p}, can you take this one back?",
        "Is it too late to return the {p}? I have had it for three weeks.",
        "I want to exchange my {p}, the box has not been opened.",
    ],
    "billing": [
        "I was charged twice for the {p}.",
        "The invoice for the {p} has the wrong company name on it.",
        "My voucher was not taken off the price of the {p}.",
        "Please send me an invoice with VAT for the {p}.",
        "The price of the {p} on my card statement is higher than in the shop.",
        "You still owe me the refund for the {p}.",
        "I paid for the {p} but your shop says the payment is open.",
        "The receipt for the {p} never came, my accountant needs it.",
        "Why is there a fee of four euros on the bill for the {p}?",
        "I paid shipping for the {p} although it was free above fifty euros.",
        "Can I pay for the {p} in two instalments?",
        "My bank has sent the payment for the {p} back, how else can I pay?",
    ],
    "question": [
        "Which size of filter fits the {p}?",
        "Can the {p} go in the dishwasher?",
        "How often should I descale the {p}?",
        "Does the {p} come in green as well?",
        "How long is the warranty on the {p}?",
        "Is the {p} made in Europe?",
        "How much does the {p} weigh?",
        "Will the {p} work with 110 volts when I travel?",
        "Do you sell spare seals for the {p}?",
        "Is there a manual for the {p} in Polish?",
        "What is the difference between the old and the new {p}?",
        "Does the {p} fit under a shelf of 38 centimetres?",
    ],
}

# Held-out messages only.
UNSEEN: dict[str, list[str]] = {
    "delivery": [
        "It says out for delivery since Thursday, but no {p} came to the door.",
        "The neighbours did not get the parcel with my {p} either, where is it?",
        "When will the {p} be delivered? The date on the site keeps changing.",
    ],
    "defect": [
        "The {p} broke on the second morning, it just went dead.",
        "The {p} drips from the bottom and the seam is cracked.",
        "Since the weekend the {p} only rattles and does nothing.",
    ],
    "return": [
        "How do I send the {p} back to you? It is still in its box.",
        "I want to return the {p}, it is too heavy for my mother.",
        "Could I exchange the {p} for another one? I have not used it.",
    ],
    "billing": [
        "There are two payments for one {p} on my card.",
        "The invoice for my {p} lists an item that I did not buy.",
        "The refund for the {p} has not reached my account.",
    ],
    "question": [
        "What is the best way to clean the {p}?",
        "How many cups does the {p} make?",
        "Is there a smaller version of the {p} in your shop?",
    ],
}

MOODS: dict[str, list[str]] = {
    "calm": [
        "Hello,",
        "Hi there.",
        "Good morning,",
        "Dear team,",
        "Hello, a short note.",
        "Good evening,",
        "Hi,",
        "To whom it may concern:",
    ],
    "happy": [
        "Hello, I love your shop!",
        "First of all, thank you for the lovely service so far!",
        "Hi, great coffee, great people!",
        "I am a very happy customer, just one thing.",
        "Your last parcel made my week, thank you!",
        "Hello, still delighted with everything from you!",
    ],
    "upset": [
        "This is really annoying.",
        "I am very disappointed.",
        "I have had enough of this.",
        "Honestly, this is unacceptable.",
        "I am losing my patience with you.",
        "What a mess.",
        "I am quite angry by now.",
    ],
}

ORDERS = [
    "My order is {o}.",
    "Order number {o}.",
    "It is about order {o}.",
    "(order {o})",
    "The order was {o}.",
    "Reference {o}.",
]

PRIORITIES: dict[str, list[str]] = {
    "high": [
        "It is urgent.",
        "I need an answer today.",
        "Please do this right away, we have guests tomorrow.",
        "This cannot wait.",
        "Please reply as soon as you can, it is urgent.",
    ],
    "low": [
        "No hurry.",
        "Take your time.",
        "There is no rush at all.",
        "Whenever you find a minute.",
        "It can wait until next week.",
    ],
}

ENDS = [
    "Thanks, Marta",
    "Regards, J. Okafor",
    "Best, Tomasz",
    "Thank you.",
    "Yours, Ines",
    "Cheers, Bo",
    "Kind regards, Mr Lindqvist",
]
