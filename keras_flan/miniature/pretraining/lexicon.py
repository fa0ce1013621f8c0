"""Everyday words for the generated stories, by part of speech."""

_NOUNS = """
air arm autumn baby bag bank bath beach bed bell bench bicycle bird boat
body bottle bowl box boy bread bridge brother bucket bus butter button
camera candle car carpet castle chair cheese child church city class clock
cloud coast coffee corner country cousin crowd curtain desk dinner door
dream dress driver ear egg evening eye face factory farm father fence field
finger fire fish flag floor flower food foot forest friend game garden gate
gift girl glass grass ground group hair hand head heart hill hole holiday
home horse hospital hotel hour house ice idea island job juice kitchen knee
knife lake lamp land leaf leg lesson letter library light line lion list
lock lunch machine map market match meal meat meeting message metal milk
mind minute mirror money moon morning mother mountain mouse mouth museum
music name nation neck nest net night noise nose note number ocean office
oil page paint paper parent park part party path people phone photo picture
piece place plan planet plant plate pocket point police pond post price
prize problem queen question radio rain reason record rice river road rock
roof room root rope salt sand school sea season seat secret seed shadow
shape sheep shelf ship shoe shop shoulder sign silver sister skin sky sleep
smile smoke snow soap soldier song soup spoon spring stage star station
stick stone store storm story street student sugar summer sun table tail
task tea teacher team tent test theatre thing ticket time tooth tower town
toy train tree trip truck uncle valley village voice wall war watch water
wave way weather week wheel wind window wing winter wolf woman wood word
work world year
"""
_VERBS = """
answered asked baked bought brought built called carried caught changed
chose cleaned climbed closed cooked counted covered crossed cut described
drew dropped dried explained fed filled finished fixed followed forgot found
held helped hid kept kicked knew learned left liked listened lost loved made
met missed moved named needed noticed opened painted passed picked planted
played pointed prepared promised pulled pushed put reached remembered
repaired saw sent shared showed sold stopped studied taught threw told tried
turned understood used visited waited walked wanted washed watched wrote
"""
_ADJECTIVES = """
afraid ancient angry bitter blind bold brave bright broken busy calm careful
cheap cheerful clear clever cool crowded curious dangerous dark dear deep
different difficult early easy equal famous fair fine firm flat foreign
fresh friendly funny gentle glad golden grateful great hard healthy hidden
honest hungry important kind large lazy lonely lucky modern narrow natural
new nice noisy old patient plain pleasant polite proud pure ready real round
rough safe sharp shiny short simple smooth soft special spare steep sticky
strange sweet thick thin tiny tired useful warm wide wild wise wooden
wonderful young
"""
_ADVERBS = """
again almost alone already always away carefully early easily far finally
gently happily later loudly never nearly now often once quickly quietly
rarely slowly soon sometimes still suddenly today together tomorrow twice
usually well yesterday
"""
NOUNS = tuple(_NOUNS.split())
VERBS = tuple(_VERBS.split())
ADJECTIVES = tuple(_ADJECTIVES.split())
ADVERBS = tuple(_ADVERBS.split())
PLACES = (
    "at home", "at school", "by the river", "in the garden", "in the house",
    "in the park", "in town", "near the bridge", "near the lake",
    "on the farm", "on the hill", "on the road", "at the market",
    "in the forest", "at the station",
)  # fmt: skip
LINKS = ("and", "but", "because", "so", "while", "until", "before", "after")
