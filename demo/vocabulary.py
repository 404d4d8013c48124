"""The rules of `demo.grammar`: messages to a travel agency, made up for this project.

A rule maps a symbol to its alternatives, parted by line ends or `|`, the frequent ones first; `[symbol]`
stands for an expansion of another rule. The symbols in LABELS are what an annotator marks. Many names are
ambiguous on purpose (Jordan, Victoria, Phoenix, Will, May), so that only their context tells what they are.
"""

LABELS = ("PER", "ORG", "LOC", "PRODUCT")

RULES: dict[str, str] = {
    "message": """
        [PER] is flying to [LOC] with [ORG] [when].
        [greeting], can I [change] my [booking] to [LOC]?
        My [PRODUCT] was [damaged] on the flight from [LOC] to [LOC].
        [ORG] has [cancelled] my [booking] and nobody answers.
        [thanks] [PER] from [ORG] was [kind].
        The [part] of the [PRODUCT] [fails] after [span].
        Where is my [booking]? I have been waiting for [span].
        [PER] and [PER] will meet us in [LOC] [when].
        [greeting], this is [PER]. I booked a [room] in [LOC] through [ORG].
        Please [change] the [booking], we will arrive [when] instead.
        Does [ORG] still fly from [LOC] [when]?
        I left my [PRODUCT] in the [place] in [LOC] [emoji]
        We loved [LOC], but the [place] was [bad].
        [thanks] everything was [kind] [emoji]
        Is the [PRODUCT] or the [PRODUCT] better for a week in [LOC]?
        I ordered two of the [PRODUCT] from [ORG], only one came.
        Will there be a [place] near the [room]?
        In [month] I paid [money] and I still have no [booking].
        [PER] ([ORG]) [says] the [booking] is [bad].
        [LOC] is [bad] in [month], [says] [PER].
        Ask [PER], not [PER], about the [booking] to [LOC].
        Hope this can be [fixed] [when], it was [bad] last time too.
        [ORG] sold my seat to somebody else, and [ORG] [says] it is not their fault.
        May I bring a [PRODUCT] on board, or must it be checked in?
        Mark my words: by [month] the [place] will be [bad] again.
        Our guide, [PER], knows every stone of [LOC] [emoji]
        The [booking] says [LOC], the [booking] says [LOC]. Which one is right?
        [ORG] vs [ORG]: who has the better [part]?
        After [span] in [LOC] [PER] lost the [PRODUCT].
        The rose garden, the summit and the delta were all [bad] in [month].
        Has anyone seen [PER]? Last call for [LOC] [emoji]
        From [LOC]: the [PRODUCT] arrived, signed for by [PER].
        [PER]'s [booking] was sent to [PER] by mistake.
        [PRODUCT], [PRODUCT], [PRODUCT]: all of them [damaged].
        They named the [part] after [PER], who once worked for [ORG] in [LOC].
        Whoever at [ORG] packed the [PRODUCT] should meet [PER].
        Neither [LOC] nor [LOC] has a [place], [says] the [place].
        On behalf of [ORG] I [thank] [ORG] and above all [PER].
        [emoji] [LOC] [emoji] [LOC] [emoji] [LOC] in [span], [thanks]
        Re: [booking] / [PER] / [LOC] / [ORG]""",
    # what is marked
    "PER": """
        [first]
        [first] [last]
        [title] [last]
        [first] [last]
        [initial]. [last]
        [title] [first] [last]
        [first] de [last]
        [foreign]""",
    "ORG": """
        [company]
        [stem] [business]
        [town] [office]
        [stem] & [stem]
        the [town] [office]
        University of [town]
        [last] [business]
        [last] & [last] [business]
        Friends of [river]""",
    "LOC": """
        [town]
        [country]
        [town], [country]
        [town] [spot]
        the [range]
        the [river]
        [country]
        the [side] coast of [country]
        [spot] [first]
        St. [first]'s""",
    "PRODUCT": """
        [brand] [thing]
        [brand]
        [brand] [number]
        [company] [thing]
        [brand] [number] [thing]
        [town] [thing]
        [number]-litre [brand]
        [brand] [first]""",
    # names; the ambiguous ones are in two lists or more
    "first": """
        Anna|Jordan|Will|Florence|Omar|Grace|Victoria|Mark|Ines|Georgia|Peter|May|Santiago|Zoë|Chelsea|
        Hope|Yuki|Rose|Austin|Łukasz|Sydney|Noor|Phoenix|Lincoln|Björn|Priya|Atlas|Élodie|Savannah|
        Tariq|Paris|Siân|Carter|Kofi|Mercury|Aino|Dakota|Raúl|Summer|Ngozi|Orion|Ivo|Asia|Müge|Bill|
        Delta|Hye-jin|Rio""",
    "last": """
        Novak|Jordan|Lincoln|Silva|Carter|Okafor|Berger|Austin|O'Brien|Marsh|Kaya|Washington|Lindqvist|
        Brooks|Haddad|Florence|Fernández|West|Tanaka|London|Popescu|Summers|Van der Meer|Banks|Çelik|
        Houston|Nguyen|Delta|Rivers|Ó Súilleabháin|Lake|Mwangi|Stone|Frost|Garmin-Hale""",
    "initial": "A|J|M|É|V|K|S|Ö",
    "title": "Mr|Ms|Dr|Mrs|Captain|Prof.|Sir",
    "foreign": """
        Nguyễn Thị Lan|李伟|Maria do Carmo|Αλέξης Παππάς|Ольга Иванова|佐藤 花子|Sinéad Ní Bhriain|
        김민지""",
    "town": """
        London|Phoenix|Victoria|Lisbon|Florence|Oslo|Santiago|Lincoln|São Paulo|Kyoto|Austin|Chelsea|
        Reykjavík|Nairobi|Sydney|Paris|Gdańsk|Washington|Cork|Savannah|Zürich|Marrakesh|Houston|Málaga|
        Hanoi|Rio|Valparaíso|Delta|Bath|Nice|Tromsø|Split|Essen|Mobile|İzmit|Tours|Reading|Orange""",
    "country": """
        Jordan|Georgia|Portugal|Norway|Chile|Japan|Kenya|Iceland|Turkey|Vietnam|Chad|Morocco|
        Côte d'Ivoire|Peru|Cuba|Åland|Mali|Oman""",
    "range": "Atlas|Alps|Andes|High Tatra|Dolomites|Grampians|Blue Ridge|Summit Ridge",
    "river": "Amazon|Danube|Delta|Orange River|Jordan|Orion Sea|Mekong|Shannon",
    "spot": "Airport|Station|Harbour|Old Town|Beach|Square|North|Cape|Lake|Mount|Port|Cathedral",
    "side": "north|west|south|Atlantic|wild east",
    "company": """
        Delta|Amazon|Aerolis|Phoenix|Summit|Atlas|Victoria|Nordfare|Mercury|Peregrine|Orange|Skylark|Orion|
        Kestrelair|Monarch|Tripwell|Jordan|Vueltas|Lincoln|Hotelio|Savannah|Oslofjord|easyNest|Ryebird|
        Swift|Target""",
    "stem": """
        Atlas|Nordic|Phoenix|Blue Harbour|Delta|Summit|Orion|Victoria|Golden Rose|Santiago|Mercury|Oslo|
        Pacific|Amazon|Silver Birch|Hope|Lagoa Azul|Übersee|Kingfisher|May""",
    "business": """
        Airlines|Travel|Hotels|Tours|Rail|Insurance|Group|Airways|Ferries|& Sons|Ltd|Cruises|Reisen|
        S.A.""",
    "office": """
        Tourist Board|City Council|Airport Authority|Police|Chamber of Commerce|Times|Port Authority|
        United""",
    "brand": """
        Atlas|Orion|Summit|Nomad|Phoenix|Delta|Voyager|Mercury|Swift|Kestrel|Rio|Lincoln|Dakota|
        Trailhead|Savannah|Aurora|Tundra|Florence|Zephyr|Amazon|Hope|Sierra|Ibex|Rosé|Fjäll|Java|Polo|
        Mustang|Nimbus|Monarch""",
    "number": "40|2|X|Pro|65|S|II|Mini|3000|Max|12B|Lite",
    "thing": """
        suitcase|backpack|camera|tent|headphones|charger|sleeping bag|tablet|guidebook|umbrella|
        power bank|stroller|jacket|boots|watch|kayak|drone""",
    # words around the names
    "greeting": "Hi|Hello|Good morning|Dear team|Hey there|Dear [PER]|Hi, [PER] here|Greetings from [LOC]",
    "thanks": "Thanks,|Thank you!|Many thanks,|Cheers,|Thx 🙏|A big thank you to all,|Merci,|Takk!",
    "thank": "thank|warmly thank|have to thank|would like to thank",
    "change": "change|move|cancel|extend|upgrade|double-check|transfer",
    "cancelled": "cancelled|lost|moved|refused|overbooked|forgotten|doubled|charged twice for",
    "booking": "booking|ticket|refund|reservation|order|parcel|invoice|boarding pass|voucher|itinerary",
    "damaged": "damaged|lost|broken|soaked|stolen|crushed|scratched|left behind",
    "kind": "very kind|wonderful|so patient|a great help|perfect|on time|lovely",
    "part": "zip|battery|handle|screen|wheel|lounge|app|strap|lens|breakfast|lock",
    "fails": "breaks|stops working|gets hot|falls off|jams|freezes",
    "place": """
        lounge|hotel lobby|station|market|museum|taxi|ferry terminal|swift taxi|summit café|rose garden""",
    "room": "double room|flat|suite|cabin|family room|tent pitch|hostel bed",
    "bad": """
        too expensive|closed|wrong|crowded|dirty|hard to find|cold|nice|not bad at all|
        a target for thieves""",
    "says": "says|writes|claims|told us|thinks|swears",
    "fixed": "fixed|sorted out|settled|refunded|mended",
    "when": """
        tomorrow|on Monday|next week|in May|tonight|at noon|in two days|this summer|on 3 June|
        before Easter|at 7:45|on the first of August|if the weather will let us|at dawn""",
    "month": "May|June|August|March|December|September|April",
    "span": "two days|an hour|three weeks|ten minutes|half a year|one trip|24 hours",
    "money": "€200|$1,150|80 pounds|4,500 kr|a fortune|¥30,000",
    "emoji": "✈️|🙏|😀|🇮🇸|👍🏽|😡|🧳|👨‍👩‍👧|🌍|…",
}
