"""Python operations as templates: how people ask for each, the code that answers; no invented ones.

A template's slots: `{l}` list of integers, `{w}` list of strings, `{s}` string, `{d}` dictionary from strings to
integers (all names), `{n}` and `{n2}` integer literals, `{q}` and `{q2}` quoted strings, `{k}` a quoted key,
`{f}` a quoted file name. The last phrasing of each operation is kept from pre-training: only the sample tasks use it.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Operation:
    """One thing that people ask of Python."""

    code: str  # template of the code, one line
    intents: tuple[str, ...]  # templates of the request, imperative, without a full stop
    statement: bool = False  # it stands alone: no value to assign, print or return
    runs: bool = True  # its effect can be checked by running it anywhere


def _read(table: str) -> tuple[Operation, ...]:
    operations = []
    for line in table.strip().splitlines():
        code, phrasings = (part.strip() for part in line.split(" :: "))
        flags, code = code[0], code[2:]
        intents = tuple(phrase.strip() for phrase in phrasings.split(" | "))
        operations.append(Operation(code, intents, statement=flags in "!~", runs=flags in ".!"))
    return tuple(operations)


# First column: `.` an expression, `!` a statement; `?` and `~` the same, with an effect that depends on the machine.
KNOWN = _read("""
. sorted({l}) :: sort list `{l}` | sort the numbers in `{l}` in ascending order | order `{l}` from small to large | get a sorted version of `{l}`
. sorted({l}, reverse=True) :: sort list `{l}` in descending order | sort `{l}` from large to small | reverse sort the numbers in `{l}`
. sum({l}) :: sum all values in `{l}` | add up the numbers in list `{l}` | compute the total of `{l}`
. max({l}) :: find the maximum of `{l}` | get the largest number in list `{l}` | what is the biggest value in `{l}`
. min({l}) :: find the minimum of `{l}` | get the smallest number in list `{l}` | what is the lowest value in `{l}`
. len({l}) :: count the elements of list `{l}` | get the length of list `{l}` | how many items are in `{l}`
. {l}[-1] :: get the last element of `{l}` | take the final item of list `{l}` | select the last value from `{l}`
. {l}[0] :: get the first element of `{l}` | take the first item of list `{l}` | select the initial value of `{l}`
. {l}[::-1] :: reverse list `{l}` | get `{l}` in reverse order | flip the order of list `{l}`
. set({l}) :: remove duplicates from `{l}` | get the unique values of list `{l}` | make a set of the elements in `{l}`
. [x for x in {l} if x > {n}] :: keep the numbers in `{l}` greater than {n} | filter `{l}` for values above {n} | select items of `{l}` that are larger than {n}
. [x for x in {l} if x < {n}] :: keep the numbers in `{l}` less than {n} | filter `{l}` for values below {n} | select items of `{l}` that are smaller than {n}
. [x * {n} for x in {l}] :: multiply every element of `{l}` by {n} | scale the list `{l}` by {n} | get each number in `{l}` times {n}
. [x + {n} for x in {l}] :: add {n} to every element of `{l}` | increase each number in list `{l}` by {n} | shift all values of `{l}` up by {n}
. [x ** 2 for x in {l}] :: square every number in `{l}` | get the squares of list `{l}` | raise each element of `{l}` to the power of two
. {l}[:{n}] :: get the first {n} elements of `{l}` | take the leading {n} items from list `{l}` | slice `{l}` up to index {n}
. {l}[{n}:] :: drop the first {n} elements of `{l}` | get `{l}` without its first {n} items | slice `{l}` starting at index {n}
. {l}[-{n}:] :: get the last {n} elements of `{l}` | take the final {n} items from list `{l}` | slice the last {n} values out of `{l}`
. {l}.count({n}) :: count how often {n} occurs in `{l}` | get the number of times {n} appears in list `{l}` | count occurrences of {n} in `{l}`
. {n} in {l} :: check if {n} is in list `{l}` | test whether `{l}` contains {n} | see if value {n} exists in `{l}`
. sum({l}) / len({l}) :: compute the average of `{l}` | get the mean value of list `{l}` | find the average number in `{l}`
. all(x > {n} for x in {l}) :: check if all numbers in `{l}` are greater than {n} | test whether every element of `{l}` exceeds {n} | see if each value in `{l}` is above {n}
. any(x < {n} for x in {l}) :: check if any number in `{l}` is less than {n} | test whether some element of `{l}` is below {n} | see if at least one value in `{l}` is under {n}
. list(enumerate({w})) :: pair each element of `{w}` with its index | number the items of list `{w}` | enumerate the strings in `{w}`
. list(zip({w}, {l})) :: pair up the elements of `{w}` and `{l}` | zip lists `{w}` and `{l}` together | combine `{w}` with `{l}` into pairs
. dict(zip({w}, {l})) :: make a dictionary from keys `{w}` and values `{l}` | map each item of `{w}` to the one in `{l}` | build a dict with keys from `{w}` and values from `{l}`
. ' '.join({w}) :: join the strings in `{w}` with spaces | concatenate list `{w}` separated by a space | make one string of the words in `{w}`
. {q}.join({w}) :: join the strings in `{w}` with {q} | concatenate list `{w}` separated by {q} | merge `{w}` using {q} as the separator
. {s}.split() :: split string `{s}` by whitespace | get the words of `{s}` | break text `{s}` into words
. {s}.split({q}) :: split string `{s}` by {q} | break text `{s}` at every {q} | separate `{s}` on {q}
. {s}.upper() :: convert string `{s}` to upper case | make `{s}` all capital letters | get an upper cased copy of `{s}`
. {s}.lower() :: convert string `{s}` to lower case | make all letters of `{s}` small | get a lower cased copy of `{s}`
. {s}.strip() :: remove whitespace around string `{s}` | trim the spaces from both ends of `{s}` | strip string `{s}`
. {s}.replace({q}, {q2}) :: replace {q} with {q2} in string `{s}` | change every {q} in `{s}` to {q2} | substitute {q2} for {q} in text `{s}`
. {s}.startswith({q}) :: check if string `{s}` starts with {q} | test whether `{s}` begins with {q} | see if {q} is a prefix of `{s}`
. {s}.endswith({q}) :: check if string `{s}` ends with {q} | test whether {q} is at the end of `{s}` | see if {q} is a suffix of `{s}`
. {s}.find({q}) :: find the position of {q} in string `{s}` | get the index of substring {q} in `{s}` | locate {q} within text `{s}`
. {q} in {s} :: check if string `{s}` contains {q} | test whether {q} occurs in `{s}` | see if substring {q} is in `{s}`
. {s}[::-1] :: reverse string `{s}` | get the characters of `{s}` backwards | flip string `{s}`
. len({s}) :: get the length of string `{s}` | count the characters in `{s}` | how long is text `{s}`
. list({s}) :: convert string `{s}` to a list of characters | get all characters of `{s}` as a list | break `{s}` into letters
. {s}.isdigit() :: check if string `{s}` has only digits | test whether `{s}` is numeric | see if all characters of `{s}` are digits
. [len(x) for x in {w}] :: get the length of each string in `{w}` | compute the lengths of all words in `{w}` | list how long every item of `{w}` is
. sorted({w}, key=len) :: sort list `{w}` by length | order the strings in `{w}` from short to long | sort words `{w}` by the length of each
. max({w}, key=len) :: find the longest string in `{w}` | get the word of maximum length from list `{w}` | which item of `{w}` is the longest
. [x.upper() for x in {w}] :: convert all strings in `{w}` to upper case | make each word of list `{w}` capital letters | upper case every item of `{w}`
. [x for x in {w} if {q} in x] :: keep the strings in `{w}` that contain {q} | filter list `{w}` for items with {q} | select words of `{w}` having {q} in them
. [str(x) for x in {l}] :: convert the numbers in `{l}` to strings | get each element of `{l}` as a string | turn list `{l}` into strings
. {d}[{k}] :: get the value of key {k} in `{d}` | look up {k} in dictionary `{d}` | read the entry {k} from dict `{d}`
. {d}.get({k}, {n}) :: get key {k} from `{d}` with default {n} | look up {k} in dictionary `{d}` or use {n} | read {k} from dict `{d}` falling back to {n}
. list({d}.keys()) :: get a list of the keys of `{d}` | list all keys in dictionary `{d}` | collect the key names of dict `{d}`
. list({d}.values()) :: get a list of the values of `{d}` | list all values in dictionary `{d}` | collect the values of dict `{d}`
. list({d}.items()) :: convert dictionary `{d}` to a list of pairs | get all key value pairs of `{d}` | list the items of dict `{d}`
. {k} in {d} :: check if key {k} exists in `{d}` | test whether dictionary `{d}` has key {k} | see if {k} is a key of dict `{d}`
. max({d}, key={d}.get) :: find the key with the largest value in `{d}` | get the key of the maximum value of dictionary `{d}` | which key of `{d}` has the highest value
. sum({d}.values()) :: sum all values of dictionary `{d}` | add up the values in `{d}` | compute the total over dict `{d}`
. sorted({d}) :: get the sorted keys of `{d}` | sort the keys of dictionary `{d}` | list keys of dict `{d}` in order
. json.dumps({d}) :: convert dictionary `{d}` to a json string | serialize `{d}` as json | dump dict `{d}` to json text
. math.sqrt({n}) :: compute the square root of {n} | get the root of number {n} | calculate sqrt of {n}
. math.log({n}) :: compute the natural logarithm of {n} | get the log of number {n} | calculate ln of {n}
. abs(-{n}) :: get the absolute value of -{n} | compute the magnitude of -{n} | remove the sign of -{n}
. list(range({n})) :: make a list of the numbers from 0 to {n} | get a list of the first {n} integers | create a range of {n} numbers as a list
. [0] * {n} :: create a list of {n} zeros | make a list with {n} zeros | initialize a list of length {n} with 0
? os.listdir({f}) :: list all files in directory {f} | get the content of folder {f} | show what is in directory {f}
? os.path.exists({f}) :: check if file {f} exists | test whether path {f} exists | see if there is a file {f}
? open({f}).read() :: read the whole file {f} | get the content of file {f} | load the text in file {f}
? open({f}).readlines() :: read all lines of file {f} | get a list of the lines in {f} | load file {f} line by line
? random.randint({n}, {n2}) :: get a random integer between {n} and {n2} | draw a random number from {n} to {n2} | pick an integer from {n} to {n2} by chance
? time.time() :: get the current time in seconds | read the clock as a timestamp | what is the current unix time
! {l}.append({n}) :: append {n} to list `{l}` | add element {n} at the end of `{l}` | put {n} after the last item of `{l}`
! {l}.remove({n}) :: remove the first {n} from list `{l}` | delete element {n} of `{l}` | take value {n} out of list `{l}`
! {l}.extend([{n}, {n2}]) :: extend list `{l}` with {n} and {n2} | add both {n} and {n2} to `{l}` | append the values {n} and {n2} to list `{l}`
! {l}.sort() :: sort list `{l}` in place | order `{l}` without making a copy | sort the list `{l}` itself
! {l}.reverse() :: reverse list `{l}` in place | flip `{l}` without making a copy | turn the list `{l}` itself around
! {d}[{k}] = {n} :: set key {k} of `{d}` to {n} | store {n} under {k} in dictionary `{d}` | assign {n} to entry {k} of dict `{d}`
! {d}.update({{{k}: {n}}}) :: update dictionary `{d}` with {k} as {n} | merge key {k} with value {n} into `{d}` | update dict `{d}` so that {k} is {n}
! del {d}[{k}] :: delete key {k} from `{d}` | remove entry {k} of dictionary `{d}` | drop {k} out of dict `{d}`
! {l}.clear() :: remove all elements from list `{l}` | empty list `{l}` | clear out everything in `{l}`
! {l}.insert(0, {n}) :: insert {n} at the start of list `{l}` | put {n} before the first element of `{l}` | add {n} to the front of `{l}`
""")

NEW = _read("""
. statistics.median({l}) :: get the median of `{l}` | compute the median value of list `{l}` | find the middle number of `{l}`
. statistics.mode({l}) :: get the mode of `{l}` | find the most common value of list `{l}` | which number is most frequent in `{l}`
. statistics.pstdev({l}) :: compute the standard deviation of `{l}` | get the deviation of the numbers in `{l}` | how much do the values of `{l}` spread
. collections.Counter({w}) :: count each distinct item of `{w}` | tally the words in list `{w}` | get the frequency of every string in `{w}`
. collections.Counter({l}).most_common({n}) :: get the {n} most common elements of `{l}` | find the {n} most frequent numbers in list `{l}` | list the top {n} repeated values of `{l}`
. heapq.nlargest({n}, {l}) :: get the {n} largest numbers of `{l}` | find the top {n} elements in list `{l}` | take the {n} highest values of `{l}`
. heapq.nsmallest({n}, {l}) :: get the {n} smallest numbers of `{l}` | find the bottom {n} elements in list `{l}` | take the {n} lowest values of `{l}`
. itertools.accumulate({l}) :: get the running totals of `{l}` | compute the cumulative sum of list `{l}` | accumulate the numbers in `{l}`
. list(itertools.permutations({l})) :: get all permutations of `{l}` | list every ordering of `{l}` | enumerate the arrangements of list `{l}`
. list(itertools.combinations({l}, {n})) :: get all combinations of {n} elements of `{l}` | list every choice of {n} items from `{l}` | enumerate subsets of size {n} of list `{l}`
. functools.reduce(operator.mul, {l}) :: multiply all numbers in `{l}` together | compute the product of list `{l}` | reduce `{l}` by multiplication
. math.gcd({n}, {n2}) :: find the greatest common divisor of {n} and {n2} | compute the gcd of {n} and {n2} | get the largest number dividing {n} and {n2}
. math.factorial({n}) :: compute the factorial of {n} | get {n} factorial | calculate the product of 1 up to {n}
. math.hypot({n}, {n2}) :: compute the hypotenuse for sides {n} and {n2} | get the length of the vector {n} and {n2} | how long is the diagonal of {n} by {n2}
. bin({n}) :: convert {n} to a binary string | get the binary form of number {n} | write {n} in base 2
. hex({n}) :: convert {n} to a hexadecimal string | get the hex form of number {n} | write {n} in base 16
. divmod({n}, {n2}) :: get the quotient and remainder of {n} by {n2} | divide {n} by {n2} with remainder | compute both division and modulo of {n} and {n2}
. re.findall({q}, {s}) :: find all matches of {q} in `{s}` | get every match of pattern {q} in string `{s}` | list what regex {q} matches in `{s}`
. re.sub({q}, {q2}, {s}) :: substitute pattern {q} by {q2} in `{s}` | replace regex {q} in string `{s}` with {q2} | swap every match of {q} in `{s}` for {q2}
. re.split({q}, {s}) :: split `{s}` by regex {q} | break string `{s}` at pattern {q} | separate `{s}` wherever {q} matches
. textwrap.wrap({s}, {n}) :: wrap text `{s}` at {n} characters | break string `{s}` into lines of width {n} | fold `{s}` to {n} columns
. string.capwords({s}) :: capitalize each word of `{s}` | make the first letter of every word in `{s}` upper case | title case string `{s}`
. shlex.split({s}) :: split `{s}` like a shell | parse command line `{s}` into arguments | tokenize shell command `{s}`
. html.escape({s}) :: escape html in `{s}` | make string `{s}` safe for html | encode special characters of `{s}` for a web page
. urllib.parse.quote({s}) :: url encode string `{s}` | percent encode `{s}` | quote `{s}` for use in a url
. difflib.get_close_matches({s}, {w}) :: find strings in `{w}` close to `{s}` | get close matches of `{s}` from list `{w}` | which words of `{w}` resemble `{s}`
. {s}.zfill({n}) :: pad string `{s}` with zeros to width {n} | zero fill `{s}` to length {n} | add leading zeros to `{s}` up to {n} characters
. {s}.center({n}, '*') :: center string `{s}` in {n} stars | pad `{s}` with stars on both sides to {n} | put `{s}` in the middle of {n} stars
. {s}.partition({q}) :: cut string `{s}` in three at {q} | partition `{s}` around {q} | get what is before and after {q} in `{s}`
. {s}.swapcase() :: swap the case of string `{s}` | switch upper and lower case in `{s}` | invert the letter case of `{s}`
. {s}.removeprefix({q}) :: remove prefix {q} from `{s}` | strip a leading {q} off string `{s}` | drop {q} at the beginning of `{s}`
. {s}.encode('utf-8') :: encode string `{s}` as utf-8 | get the utf-8 bytes of `{s}` | turn text `{s}` into bytes
. os.path.basename({f}) :: get the file name of path {f} | extract the base name from {f} | take the last part of path {f}
. os.path.splitext({f}) :: split file name {f} into root and extension | get the extension of {f} | separate the ending from file {f}
. pathlib.Path({f}).suffix :: get the suffix of path {f} | find the file type of {f} | read the suffix of file {f}
. dict.fromkeys({w}, {n}) :: make a dictionary with keys `{w}` all set to {n} | map every item of `{w}` to {n} | initialize a dict from `{w}` with value {n}
. operator.itemgetter({n})({l}) :: get item {n} of `{l}` with an item getter | fetch index {n} of list `{l}` by operator | apply an item getter for {n} to `{l}`
. bisect.bisect_left({l}, {n}) :: find the insertion point of {n} in `{l}` | where would {n} go in sorted list `{l}` | bisect `{l}` for value {n}
? os.getcwd() :: get the current working directory | show the present folder | which directory am I in
? os.environ.get({k}) :: read environment variable {k} | get the value of {k} from the environment | look up env var {k}
? glob.glob({f}) :: find files matching {f} | list paths that match glob {f} | expand the wildcard {f}
? shutil.copy({f}, 'backup') :: copy file {f} to the backup folder | make a backup copy of {f} | duplicate file {f} into backup
? random.choice({l}) :: choose a random element of `{l}` | pick one item of list `{l}` at random | draw any value out of `{l}`
? random.sample({l}, {n}) :: choose {n} random elements of `{l}` | sample {n} items from list `{l}` | draw {n} values out of `{l}` without replacement
? socket.gethostname() :: get the host name of this machine | find out the name of the computer | what is my host name
? datetime.date.today() :: get the current date | find out which day it is today | what is the date of today
~ random.shuffle({l}) :: shuffle list `{l}` | put the elements of `{l}` in random order | mix up list `{l}` in place
! heapq.heapify({l}) :: turn list `{l}` into a heap | heapify `{l}` | make a heap of `{l}` in place
! bisect.insort({l}, {n}) :: insert {n} into sorted list `{l}` | put {n} at its place in `{l}` keeping order | add {n} to `{l}` so that it stays sorted
! {d}.setdefault({k}, {n}) :: set {k} in `{d}` to {n} unless present | give dictionary `{d}` a default of {n} for {k} | make sure `{d}` has {k} with {n} at least
! {d}.pop({k}, None) :: pop key {k} from `{d}` if present | discard {k} from dictionary `{d}` safely | drop entry {k} of `{d}` without an error
~ os.makedirs({f}, exist_ok=True) :: create directory {f} if missing | make folder {f} with its parents | ensure that directory {f} exists
~ os.remove({f}) :: delete file {f} | remove the file named {f} | erase {f} from disk
~ time.sleep({n}) :: wait {n} seconds | sleep for {n} seconds | pause the program {n} seconds
""")
