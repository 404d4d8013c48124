"""Label configs that the tests of the conversion share."""

from labelstudio.schema import Schema, read_schema

TEXT = """
<View>
  <Labels name="label" toName="text">
    <Label value="PER"/><Label value="LOC"/><Label value="Organisation" alias="ORG"/>
  </Labels>
  <Text name="text" value="$text"/>
</View>
"""
PAGE = """
<View>
  <HyperTextLabels name="ner" toName="page"><Label value="PER"/><Label value="LOC"/></HyperTextLabels>
  <HyperText name="page" value="$html"/>
</View>
"""
DIALOGUE = """
<View>
  <ParagraphLabels name="ner" toName="talk"><Label value="PER"/><Label value="LOC"/></ParagraphLabels>
  <Paragraphs name="talk" value="$dialogue" layout="dialogue" textKey="said" nameKey="who"/>
</View>
"""


def text_schema() -> Schema:
    return read_schema(TEXT)


def page_schema() -> Schema:
    return read_schema(PAGE)


def dialogue_schema() -> Schema:
    return read_schema(DIALOGUE)
