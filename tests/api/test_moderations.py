"""/v1/moderations with the official SDK."""

INSULT = "You are a fucking idiot, shut up, bitch."


def test_the_sdk_reads_what_is_flagged_and_by_which_category(client):
    answer = client.moderations.create(input=INSULT, model="omni-moderation-latest")
    [result] = answer.results
    assert result.flagged and result.categories.harassment and not result.categories.self_harm_intent
    assert result.category_scores.harassment > 0.9 and result.category_scores.violence_graphic == 0
    assert result.category_applied_input_types.harassment == ["text"]
    assert answer.id.startswith("modr-") and answer.model.startswith("alt-profanity-check")


def test_a_list_has_a_result_each_and_parts_have_one_together(client):
    several = client.moderations.create(input=["Good morning.", INSULT])
    assert [result.flagged for result in several.results] == [False, True]
    parts = client.moderations.create(input=[{"type": "text", "text": "Good morning."}])
    assert [result.flagged for result in parts.results] == [False]
