"""The vocabulary that generated intents and code are made of; no meaning, no randomness."""

VERBS = """add align append apply attach average balance bind blend build cache call cast center chain check clean
clear clip clone close collect combine compare compile compose compress compute connect convert copy count cover crop
cut decode define delete derive detect draw drop dump edit emit encode enter erase escape estimate evaluate expand
export extend extract fetch fill filter find fit flatten flip fold format freeze gather get grab group guess hash hide
hold import infer insert inspect invert iterate join keep label launch lift limit link list load locate lock log look
lower make map mark mask match measure merge mix move name nest normalize observe open order pack pad parse partition
paste patch peek permute pick pin plot pop print probe project prune pull push quote raise rank rate read rebuild
reduce refresh register reject release reload remove rename render repeat replace report reset reshape resize resolve
restore retry reverse rotate round route run sample save scale scan search seek select send serve set shift show
shrink shuffle sign skip slice smooth snap solve sort split stack stage start stop store stream strip subtract sum
swap switch tag take test throw tie toggle trace track transform translate trim truncate turn unfold unpack update
validate verify view visit wait walk warp watch weigh wrap write zip""".split()

NOUNS = """account action address alias amount anchor angle answer archive area argument array arrow article axis badge
band bank bar base basket batch beam bin bit block board body book border bound box branch bridge bucket buffer bundle
byte cache call camera card case cell center chain channel char chart child choice chunk circle city class clock cloud
cluster code color column comment commit corner counter country course cover curve cycle date day deck degree depth
desk device diff digit disk distance domain door draft edge element email engine entry error event factor family
feature field figure file filter flag fleet folder font footer form fraction frame function garden gate goal grade
graph grid group guest handle header height hint history hole hook host hour house icon image index input interval
invoice island item job journal key label lake lane layer leaf ledger length lesson letter level library limit line
link list lock log loop machine map margin marker mask matrix mean median member memory menu message meter method
minute mode model module moment month motor mouse name nation network node note number object offer office offset
option orbit order origin outline owner packet page pair panel parent part patch path pattern peak percent period
person phone phrase pixel place plan planet player plot point pool port position post prefix price prime product
profile project queue quote radius range rank rate ratio record region report request result ring river road robot
role room root route row rule sample scale scene schema scope score screen season section seed segment sensor series
server session shape sheet shelf shift ship shop side signal size slot socket source space span spot square stack
stage state station step stock stone stream street string student style suffix sum surface switch symbol system table
tag target task team term test text theme thread tile time title token tool topic total tower town track trade tree
trend tuple turn type unit user value variable vector version view volume wall wave week weight wheel width window
word worker zone""".split()

ADJECTIVES = """absolute active average bare big blank blue bright broad busy central clean clear closed cold common
complete current daily dark deep default dense direct double dry early empty equal even exact external fast final
first fixed flat free fresh full global green half hard heavy hidden high hot inner internal joint large last late
latest left light linear local long loose low main major maximum mean middle minimum minor mixed modern narrow native
near new next nice normal odd old only open outer partial plain previous primary prime private public quick random
rare raw recent red regular relative remote rich right rough round safe second secret separate sharp short silent
simple single slow small smart smooth soft solid sparse stable static strict strong sum sweet tall thick thin third
tight tiny total true unique upper valid wide wild young""".split()

LIST_NAMES = """xs ys items values numbers nums data scores ages prices counts lengths sizes points totals amounts a b
lst my_list list1 list2 row series sample samples heights weights grades temps ids digits arr array_a l""".split()
WORD_LIST_NAMES = """words names lines tokens parts labels tags cities users titles keys fields fruits colors files
countries strings strs terms mylist word_list animals books""".split()
TEXT_NAMES = """s text line name title word sentence string msg message label path_str raw query city t user phrase
comment body header my_string str1 stuff""".split()
DICT_NAMES = """d config data_dict mapping table settings options counts_by_name params my_dict info stock prices_by_id
ages_by_name lookup index_map""".split()
VALUE_WORDS = """apple pear plum cat dog bird red blue green north south east west one two three alpha beta gamma delta
sun moon star rain snow wind oak pine fern gold iron salt milk rice corn""".split()
FILE_WORDS = """report data notes input output log users table image draft backup config summary index""".split()
FILE_ENDINGS = ("txt", "csv", "json", "log", "md")

# The answer styles of the sample tasks use these names, so the pre-training text never assigns to them.
SAMPLE_STYLE_NAMES = ("answer", "result", "output", "value")
