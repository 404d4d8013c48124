"""Label configs: the three supported pairs, choices and relations, the choice among several, and what is refused."""

import subprocess
import sys

import pytest

from labelstudio.schema import MAX_CONFIG, UnsupportedConfig, read_schema
from tests.labelstudio.configs import DIALOGUE, PAGE, TEXT


def pair(control: str = "", object: str = "", label: str = '<Label value="PER"/>', shows: str = "Text") -> str:
    return f'<View><Labels name="ner" toName="t" {control}>{label}</Labels><{shows} name="t" {object}/></View>'


def test_text() -> None:
    schema = read_schema(TEXT)
    assert (schema.control, schema.control_type, schema.object, schema.object_type) == (
        "label",
        "labels",
        "text",
        "Text",
    )
    assert (schema.value, schema.encoding) == ("text", "none")
    assert schema.labels == ("PER", "LOC", "ORG")  # results name a label by its alias


def test_hypertext() -> None:
    schema = read_schema(PAGE)
    assert (schema.control_type, schema.object_type, schema.value) == ("hypertextlabels", "HyperText", "html")
    assert not schema.inline
    assert read_schema(PAGE.replace("<HyperText ", '<HyperText inline="true" ')).inline


def test_paragraphs() -> None:
    schema = read_schema(DIALOGUE)
    assert (schema.control_type, schema.object_type, schema.value) == (
        "paragraphlabels",
        "Paragraphs",
        "dialogue",
    )
    assert schema.text_key == "said"
    assert read_schema(DIALOGUE.replace('textKey="said"', "")).text_key == "text"


def test_labels_over_hypertext_keep_their_own_type() -> None:
    schema = read_schema(pair(object='value="$html"', shows="HyperText"))
    assert (schema.control_type, schema.object_type) == ("labels", "HyperText")


def test_nested_views_comments_and_labels_inside_views() -> None:
    config = TEXT.replace("<View>", '<View><!-- {"data": {}} --><Header value="Mark"/><View style="x">', 1)
    config = config.replace("</Labels>", '<View><Label value="INNER"/></View></Labels>')
    assert read_schema(config.replace("</View>\n", "</View></View>\n")).labels[-1] == "INNER"


SEVERAL = """
<View>
  <Choices name="tone" toName="text"><Choice value="good"/></Choices>
  <RectangleLabels name="box" toName="image"><Label value="CAR"/></RectangleLabels>
  <Image name="image" value="$image"/>
  <Labels name="empty" toName="text"/>
  <Labels name="first" toName="text"><Label value="A"/></Labels>
  <Labels name="second" toName="text"><Label value="B"/></Labels>
  <Text name="text" value="$text"/>
</View>
"""


def test_the_first_that_labels_spans_of_a_text_is_taken() -> None:
    schema = read_schema(SEVERAL)
    assert schema.control == "first"
    assert schema.choices is not None and schema.choices.control == "tone"
    assert schema.controls == ("tone", "box", "empty", "first", "second")


def test_control_names_another() -> None:
    schema = read_schema(SEVERAL, "second")
    assert (schema.labels, schema.choices, schema.kinds) == (("B",), None, ("spans",))
    tone = read_schema(SEVERAL, "tone")
    assert (tone.control, tone.labels, tone.kinds) == ("", (), ("choices",))


def test_an_unknown_control_lists_the_candidates() -> None:
    with pytest.raises(
        UnsupportedConfig, match=r"'third' does not exist.*'tone', 'first', 'second'.*Set `control` to one"
    ):
        read_schema(SEVERAL, "third")


def test_an_unusable_control_says_why() -> None:
    with pytest.raises(
        UnsupportedConfig,
        match=r"'box' cannot be used: <RectangleLabels.*does not label a text.*'tone', 'first', 'second'",
    ):
        read_schema(SEVERAL, "box")


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ("", "empty"),
        (None, "empty"),
        ({"view": 1}, "empty"),
        ("<View>", "cannot be read as XML"),
        ("no xml", "cannot be read as XML"),
        ("<View>" * 3000 + "</View>" * 3000, "cannot be read as XML"),
        ("<View/>", "Found: no labelling tag at all"),
        (
            '<View><Rating name="c" toName="t"/><Text name="t" value="$t"/></View>',
            "<Rating name='c' toName='t'>, which does not label a text or spans of it",
        ),
        (pair(object='value="$i"', shows="Image"), "over <Image>"),
        (pair(object='value="$t"').replace('toName="t"', 'toName="x"'), "over a tag that does not exist"),
        (pair(object='value="$t"', label=""), "without <Label> tags"),
        (pair(object='value="$t"', label="<Label/>"), "without <Label> tags"),
        (pair(control='value="$labels"', object='value="$t"', label=""), "without <Label> tags"),
        (pair(object='value="read me"'), "a fixed text and no task field"),
        (
            pair(object='value="$t" encoding="rot13"'),
            "encoding='rot13' \\(known: none, base64, base64unicode",
        ),
        (f"<View><!--{'x' * MAX_CONFIG}--></View>", "at most 1,000,000 are read"),
    ],
)
def test_refused(config: object, found: str) -> None:
    with pytest.raises(UnsupportedConfig, match=found) as caught:
        read_schema(config)  # type: ignore[arg-type]
    message = str(caught.value)
    remedies = ("Settings > Labeling Interface", "Remove labels")
    assert any(remedy in message for remedy in remedies)
    assert "Supported are <Labels>" in message or "Remove labels" in message


def test_an_entity_bomb_is_refused_unexpanded() -> None:
    entities = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10 if i else "x" * 100}">' for i in range(12))
    with pytest.raises(UnsupportedConfig, match="entities and DTDs are not allowed"):
        read_schema(f"<!DOCTYPE View [{entities}]><View>&e11;</View>")


def test_a_foreign_file_is_not_read() -> None:
    with pytest.raises(UnsupportedConfig, match="DTD"):
        read_schema('<!DOCTYPE View [<!ENTITY f SYSTEM "file:///etc/hostname">]><View>&f;</View>')


def test_importing_the_module_does_not_import_the_sdk() -> None:
    code = (
        "import sys, labelstudio.schema, labelstudio.results; sys.exit('label_studio_sdk.label_interface' in "
        "sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def over_text(tag: str) -> str:
    return f'<View>{tag}<Text name="t" value="$t"/></View>'


CHOICES = '<Choices name="c" toName="t" {}><Choice value="good"/><Choice value="Really bad" alias="bad"/></Choices>'


@pytest.mark.parametrize(
    ("how", "multiple"), [("", False), ('choice="single-radio"', False), ('choice="multiple"', True)]
)
def test_choices(how: str, multiple: bool) -> None:
    schema = read_schema(over_text(CHOICES.format(how)))
    assert schema.choices is not None
    assert (schema.kinds, schema.control, schema.labels) == (("choices",), "", ())
    assert (schema.object, schema.object_type, schema.value) == ("t", "Text", "t")
    assert (schema.choices.type, schema.choices.labels, schema.choices.multiple) == (
        "choices",
        ("good", "bad"),
        multiple,
    )


def test_choices_in_views_count_and_those_inside_choices_which_the_editor_hides_do_not() -> None:
    inner = '<View><Choice value="a"><Choice value="hidden"/></Choice></View><Choice/><Choice value="b"/>'
    schema = read_schema(over_text(f'<Choices name="c" toName="t">{inner}</Choices>'))
    assert schema.choices is not None and schema.choices.labels == ("a", "b")


def test_one_tick_box_is_ticked_or_not() -> None:
    schema = read_schema(over_text('<Choices name="c" toName="t"><Choice value="spam"/></Choices>'))
    assert schema.choices is not None and schema.choices.multiple


TREE = (
    '<Taxonomy name="c" toName="t" {}><Choice value="Life"><Choice value="Bird" alias="B"/><Choice value="Fish"/>'
    '</Choice><Choice value="Stone"/></Taxonomy>'
)


def test_a_taxonomy() -> None:
    every = read_schema(over_text(TREE.format(""))).choices
    assert every is not None
    assert (every.type, every.multiple) == ("taxonomy", True)
    assert every.labels == ("Life", "Life > B", "Life > Fish", "Stone")
    assert every.paths == (("Life",), ("Life", "B"), ("Life", "Fish"), ("Stone",))
    leaves = read_schema(over_text(TREE.format('leafsOnly="true" maxUsages="1"'))).choices
    assert leaves is not None
    assert (leaves.labels, leaves.multiple) == (("Life > B", "Life > Fish", "Stone"), False)


LABELS = '<Labels name="ner" toName="t"><Label value="PER"/></Labels>'
ARROWS = '<Relations><Relation value="knows"/><Relation value="born in"/><Relation/></Relations>'


def test_relations_come_with_the_labels_that_they_connect() -> None:
    schema = read_schema(over_text(LABELS + ARROWS))
    assert (schema.kinds, schema.relations) == (("spans", "relations"), ("knows", "born in"))
    named = ARROWS.replace("<Relations>", '<Relations name="r" toName="t">')
    assert read_schema(over_text(named + LABELS)).relations == ("knows", "born in")
    assert read_schema(over_text(ARROWS + CHOICES.format(""))).kinds == ("choices",)
    assert read_schema(over_text(f"{LABELS}<Relations/>")).kinds == ("spans",)


def test_all_three_together_and_each_named_alone() -> None:
    config = over_text(CHOICES.format("") + ARROWS + LABELS)
    assert read_schema(config).kinds == ("spans", "choices", "relations")
    assert read_schema(config, "ner").kinds == ("spans", "relations")
    assert read_schema(config, "c").kinds == ("choices",)


def test_choices_over_another_text_are_not_those_of_the_spans() -> None:
    other = CHOICES.format("").replace('toName="t"', 'toName="u"') + '<Text name="u" value="$u"/>'
    schema = read_schema(over_text(other + LABELS))
    assert (schema.object, schema.kinds) == ("t", ("spans",))
    assert read_schema(over_text(other)).object == "u"


@pytest.mark.parametrize(
    ("tag", "found"),
    [
        (CHOICES.format('visibleWhen="choice-selected"'), "only under a condition .visibleWhen='choice-selected'"),
        (CHOICES.format('perRegion="true"'), "only under a condition .perRegion='true'"),
        (CHOICES.format('perItem="true"'), "only under a condition .perItem='true'"),
        (f'<View visibleWhen="region-selected"><View>{CHOICES.format("")}</View></View>', "visibleWhen='region"),
        (CHOICES.format('value="$options"'), "come with each task"),
        (TREE.format('apiUrl="https://example.com/tree"'), "from an address"),
        (TREE.format('labeling="true"'), "labels regions"),
        (CHOICES.format('allowNested="true"'), "Label Studio drops .use <Taxonomy> instead"),
        ('<Choices name="c" toName="t"/>', "without <Choice> tags"),
    ],
)
def test_choices_that_are_refused(tag: str, found: str) -> None:
    with pytest.raises(UnsupportedConfig, match=found) as caught:
        read_schema(over_text(tag))
    assert "<Choices> and <Taxonomy>" in str(caught.value)
    assert read_schema(over_text(tag + LABELS)).kinds == ("spans",)
