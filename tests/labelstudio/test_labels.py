import pytest

from labelstudio.labels import colours, label_counts
from labelstudio.schema import read_schema

CONFIG = """<View>
 <Labels name="label" toName="text">
  <Label value="PER" background="#ff0000"/><Label value="LOC" background="rgb(0, 10%, 3)" alias="place"/>
  <View><Label value="ORG" background=" green "/></View><Label value="MISC"/>
 </Labels>
 <Labels name="other" toName="text"><Label value="PER" background="blue"/></Labels>
 <Text name="text" value="$text"/>
</View>"""
SCHEMA = read_schema(CONFIG)


def test_colours_are_those_of_the_tag_that_is_learned():
    found = {"PER": "#ff0000", "place": "rgb(0, 10%, 3)", "ORG": "green", "MISC": None}
    assert {label: colours(CONFIG, SCHEMA)[label] for label in SCHEMA.labels} == {
        label: found[label] for label in SCHEMA.labels
    }
    assert colours(CONFIG, read_schema(CONFIG, "other"))["PER"] == "blue"


@pytest.mark.parametrize("colour", ["url(http://evil.example)", "red;display:none", "expression(1)", "#ggg", "a" * 99])
def test_what_is_no_colour_is_none(colour):
    config = CONFIG.replace("#ff0000", colour)
    assert colours(config, read_schema(config))["PER"] is None


def region(label: object, control: str = "label") -> dict:
    return {"from_name": control, "type": "labels", "value": {"start": 0, "end": 1, "labels": label}}


def test_labels_are_counted_by_region():
    results = [
        [region(["PER"]), region(["PER", "place"]), region(["PER"], "other")],
        [],
        [region(None), {"from_name": "label", "value": None}, "odd", region([7])],
        [region(["PER"])],
    ]
    assert label_counts(SCHEMA, results) == {"PER": 3, "place": 1}


MIXED = """<View>
 <Relations><Relation value="knows" background="red"/><Relation value="likes"/></Relations>
 <Labels name="label" toName="text"><Label value="PER" background="blue"/></Labels>
 <Taxonomy name="topic" toName="text">
  <Choice value="Life" background="green"><Choice value="Bird" alias="B" background="#fff"/></Choice>
 </Taxonomy>
 <Text name="text" value="$text"/>
</View>"""


def test_colours_of_every_kind():
    schema = read_schema(MIXED)
    assert colours(MIXED, schema) == {"PER": "blue"}
    assert colours(MIXED, schema, "choices") == {"Life": "green", "Life > B": "#fff"}
    assert colours(MIXED, schema, "relations") == {"knows": "red", "likes": None}
    assert colours(CONFIG, SCHEMA, "choices") == colours(CONFIG, SCHEMA, "relations") == {}


def test_labels_of_every_kind_are_counted():
    schema = read_schema(MIXED)
    chosen = {"from_name": "topic", "type": "taxonomy", "value": {"taxonomy": [["Life"], ["Life", "B"]]}}
    arrow = {"type": "relation", "from_id": "a", "to_id": "b", "labels": ["knows", 3]}
    results = [[chosen, arrow, region(["PER"])], [chosen | {"value": {"taxonomy": "Life"}}, arrow | {"labels": None}]]
    assert label_counts(schema, results) == {"PER": 1}
    assert label_counts(schema, results, "choices") == {"Life": 1, "Life > B": 1}
    assert label_counts(schema, results, "relations") == {"knows": 1}
    assert label_counts(SCHEMA, results, "choices") == label_counts(SCHEMA, results, "relations") == {}
