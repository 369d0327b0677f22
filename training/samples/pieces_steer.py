"""Hand-written pieces of the steering task: what people say at the end of a shift, and the note made of it."""

SYSTEM = "Handover note"

LONG_SYSTEM = """You write handover notes. Somebody tells you, in passing, how their shift went.
Turn it into a note for the person who comes next, and obey all of these rules.
1. The note has exactly three lines and nothing else: no greeting, no title, no comment before or after.
2. The first line begins with "Done: " and names what was finished.
3. The second line begins with "Open: " and names what is still wrong or unfinished.
4. The third line begins with "Next: " and says what has to be done, then a comma, then the day.
5. Write each line in a few words, at most ten. Leave out how people feel, the weather, jokes, thanks and excuses.
6. Do not use full stops, bullet points, quotation marks or emphasis.
7. Apart from names of days, write in small letters after the colon.
8. Never add anything that was not said, and never leave one of the three lines out."""

DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"]

# {done} and {open} are clauses as people say them; {next} is an order to do something; {day} a day.
FRAMES = [
    "Phew, long one today. {done}, but {open}. Somebody has to {next} on {day}.",
    "Hi! So, {done}. The bad news is that {open}. Could you {next} on {day}? You are a star.",
    "Quick one before my bus leaves: {done}, {open}, and please {next} on {day}.",
    "What a day, rain since six. Anyway, {done}. Only {open}, so we need to {next} on {day}.",
    "Sorry for the scribble. {done} and I am proud of it. Still, {open}. The boss wants us to {next} on {day}.",
    "{done}, finally! {open} though, nobody knows why. Don't forget to {next} on {day}.",
    "Evening all. {done} before lunch. {open}, as always. On {day} you should {next}.",
    "My feet hurt. {done}, and yet {open}. I promised that you would {next} on {day}.",
]

PLACES: list[dict[str, list]] = [
    {  # café
        "done": [
            ("I counted the stock", "stock count"),
            ("the new menus are printed", "new menus printed"),
            ("we cleaned the big oven", "big oven cleaned"),
            ("the milk order went out", "milk order sent"),
        ],
        "open": [
            ("the freezer alarm keeps going off", "freezer alarm"),
            ("the card reader is still slow", "slow card reader"),
            ("table nine wobbles", "wobbly table nine"),
            ("the till was four euros short", "till four euros short"),
        ],
        "next": ["call the electrician", "order oat milk", "change the water filter", "train the new waiter"],
    },
    {  # workshop
        "done": [
            ("the red van passed its check", "red van checked"),
            ("I changed the brakes on the taxi", "taxi brakes changed"),
            ("all the winter tyres are sorted", "winter tyres sorted"),
            ("the lift has been greased", "lift greased"),
        ],
        "open": [
            ("the compressor is losing air", "compressor losing air"),
            ("the key of the blue car is gone", "blue car key missing"),
            ("the invoice for the tow is unpaid", "tow invoice unpaid"),
            ("one headlight has not come", "headlight not here"),
        ],
        "next": ["ring the parts dealer", "collect the trailer", "wash the courtesy car", "book the inspector"],
    },
    {  # library
        "done": [
            ("the returned books are shelved", "returned books shelved"),
            ("I mended the atlas", "atlas mended"),
            ("the reading hour is planned", "reading hour planned"),
            ("we labelled the new films", "new films labelled"),
        ],
        "open": [
            ("the scanner at desk two is dead", "dead scanner at desk two"),
            ("the heating upstairs does not stop", "heating upstairs"),
            ("eleven reminders are not sent", "eleven reminders unsent"),
            ("a reader lost her card", "lost reader card"),
        ],
        "next": ["open the side door early", "set up forty chairs", "send the reminders", "meet the school class"],
    },
    {  # clinic desk
        "done": [
            ("all the lab letters are filed", "lab letters filed"),
            ("I restocked the gloves", "gloves restocked"),
            ("the rota for June is done", "June rota"),
            ("the waiting room is painted", "waiting room painted"),
        ],
        "open": [
            ("the phone on line two crackles", "line two crackles"),
            ("a parcel of vaccine is late", "late vaccine parcel"),
            ("the printer eats paper", "printer eats paper"),
            ("room three has no clean sheets", "no sheets in room three"),
        ],
        "next": ["call the courier", "move the nine o'clock visit", "test the fire alarm", "order labels"],
    },
    {  # nursery garden
        "done": [
            ("we potted two hundred tomatoes", "two hundred tomatoes potted"),
            ("the roses are pruned", "roses pruned"),
            ("I fixed the hose", "hose fixed"),
            ("the price signs are up", "price signs up"),
        ],
        "open": [
            ("there are greenfly in house one", "greenfly in house one"),
            ("the roof vent sticks", "roof vent sticks"),
            ("the peat delivery was wrong", "wrong peat delivery"),
            ("somebody dented the green gate", "dented green gate"),
        ],
        "next": ["water the ferns twice", "bring the lemons inside", "weed the long bed", "load the market stall"],
    },
]

# Held-out messages only.
NEW_PLACES: list[dict[str, list]] = [
    {  # hotel desk
        "done": [
            ("the late guests are checked in", "late guests checked in"),
            ("I balanced the cash box", "cash box balanced"),
            ("the lost coats are tagged", "lost coats tagged"),
        ],
        "open": [
            ("the lift stops on floor four", "lift stops on floor four"),
            ("room twelve has no hot water", "no hot water in room twelve"),
            ("the airport bus was not booked", "airport bus not booked"),
        ],
        "next": ["wake the crew at five", "call the plumber", "print the breakfast list"],
    },
    {  # small theatre
        "done": [
            ("the stage is swept", "stage swept"),
            ("we hung the new curtain", "new curtain hung"),
            ("the programmes are folded", "programmes folded"),
        ],
        "open": [
            ("the left speaker hums", "left speaker hums"),
            ("row F has a broken seat", "broken seat in row F"),
            ("two costumes are at the cleaner's", "two costumes at the cleaner's"),
        ],
        "next": ["charge the radios", "mend the trapdoor", "sell the last tickets"],
    },
]


def note(done: str, open: str, next: str) -> str:
    return f"Done: {done}\nOpen: {open}\nNext: {next}"
