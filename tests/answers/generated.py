"""Random programs, for what Python does with them and what we do.

Every program puts values into the list `out` and prints it as its last line;
what it raises, it catches or ends with.
"""

import random

_NUMBERS = ("a", "b", "c", "δ")
_LISTS = ("xs", "ys", "zs")
_TEXTS = ("s", "t", "naïve")
_DICTS = ("d", "e")
_CAUGHT = (
    "(ArithmeticError, LookupError, ValueError, TypeError, AttributeError, "
    "NameError, AssertionError, RuntimeError)"
)


# The first line of a loop's body: what grows in loops within loops stays
# small.
_SHORT = (
    "del out[99:], xs[9:], ys[9:], zs[9:]; "
    "s, t, naïve = s[:9], t[:9], naïve[:9]"
)


class Generator:
    """Writes one program after the other.

    Args:
        seed: Of the program's random choices.
    """

    def __init__(self, seed: int):
        self.random = random.Random(seed)
        self.count = 0

    def program(self) -> str:
        """Returns the text of a program."""
        lines = [
            "from collections import Counter, defaultdict, deque",
            "from functools import reduce",
            "import itertools, math",
            "out = []",
            f"a, b, c, δ = {self.whole()}, {self.whole()}, 0.5, {self.whole()}",
            f"xs, ys, zs = {self.items()}, {self.items()}, []",
            "s, t, naïve = 'abc', 'Hello World', 'é'",
            f"d, e = {{'a': {self.whole()}, 'b': 2}}, {{}}",
            "q = deque([1, 2])",
        ]
        for _ in range(self.random.randint(4, 9)):
            statement = self.statement(2)
            if self.random.random() < 0.9:
                statement = [
                    "try:",
                    *(f"    {line}" for line in statement),
                    f"except {_CAUGHT} as error:",
                    "    out.append(str(error))",
                ]
            lines += statement
        lines += [
            "text = repr((out, a, b, c, δ, xs, ys, zs, s, t, naïve, d, e, q))",
            "print(len(text), text[:9000], text[-9000:])",
        ]
        return "\n".join(lines) + "\n"

    # === Choices ===

    def pick(self, *options):
        return self.random.choice(options)

    def whole(self) -> str:
        return str(self.random.randint(-9, 12))

    def items(self) -> str:
        count = self.random.randint(0, 5)
        return f"[{', '.join(self.whole() for _ in range(count))}]"

    def name(self) -> str:
        self.count += 1
        return self.pick("v", "w", "ñ", "x_", "µ") + str(self.count)

    def number_name(self) -> str:
        return self.pick(*_NUMBERS)

    def list_name(self) -> str:
        return self.pick(*_LISTS)

    # === Expressions ===

    def number(self, depth: int = 2) -> str:
        if depth == 0:
            return self.pick(self.whole(), self.number_name(), "len(xs)", "2.5")
        one, two = self.number(depth - 1), self.number(depth - 1)
        row, text = self.row(depth - 1), self.text(depth - 1)
        i = self.name()
        return self.pick(
            f"({one} {self.pick('+', '-', '*')} {two})",
            f"({one} {self.pick('//', '%', '/')} {two})",
            f"(-{one})",
            f"({one} if {self.test(depth - 1)} else {two})",
            f"divmod({one}, {two})[{self.pick(0, 1)}]",
            f"({one} ** {self.pick(0, 1, 2, -1)})",
            f"len({row})",
            f"sum({row})",
            f"max({row}, default={one})",
            f"sum({i} * {two} for {i} in {row} if {i} > {one})",
            f"{row}[{self.pick(-1, 0, 1)}]",
            f"abs({one})",
            f"round({one}, {self.pick(0, 1, 2)})",
            f"int({one})",
            f"{text}.count('l')",
            f"({i} := {one})",
            f"(lambda {i}, k={two}: {i} + k)({one})",
            f"next((x for x in {row} if x > {one}), {two})",
            f"reduce(lambda x, y: x * 2 - y, {row}, {one})",
            f"({one} or {two})",
            f"({one} and {two})",
            f"(not {one})",
            f"d.get('a', {two})",
            f"math.floor({one})",
            f"int({self.test(depth - 1)})",
            f"({self.whole()} {self.pick('&', '|', '^', '<<')} 3)",
            f"min({one}, {two}, key=lambda x: -x)",
            f"any(x == {one} for x in {row})",
            f"(~{self.whole()})",
        )

    def test(self, depth: int) -> str:
        one, two = self.number(max(depth, 0)), self.number(0)
        return self.pick(
            f"{one} {self.pick('<', '<=', '==', '!=', '>', '>=')} {two}",
            f"{self.whole()} < {one} <= {two}",
            f"{one} in {self.list_name()}",
            f"{one} not in ({two}, 1)",
            f"{self.list_name()} is {self.list_name()}",
            f"not {one}",
            f"{self.list_name()}",
            f"isinstance({one}, (int, float)) and {two} != 3",
            f"'l' in {self.text(0)}",
        )

    def row(self, depth: int = 1) -> str:
        if depth == 0:
            return self.pick(self.list_name(), self.items(), "list(q)")
        inner, one = self.row(depth - 1), self.number(depth - 1)
        i, j = self.name(), self.name()
        return self.pick(
            f"[{i} * {one} for {i} in {inner}]",
            f"[{i} for {i} in {inner} if {i} % 2 == {self.pick(0, 1)}]",
            f"[{i} + {j} for {i} in {inner} for {j} in range({i} % 3)]",
            f"[({i} := {j} + 1) for {j} in {inner}]",
            f"[f() for f in [lambda: {i} for {i} in {inner}]]",
            f"[f() for f in [lambda {i}={i}: {i} for {i} in {inner}]]",
            f"sorted({inner}, key=lambda x: (x % 3, -x))",
            f"sorted({inner}, reverse={self.pick(True, False)})",
            f"[*{inner}, {one}]",
            f"{inner}[{self.slice()}]",
            f"list(map(lambda x: x - {one}, {inner}))",
            f"list(filter(None, {inner}))",
            f"[x for x, _ in zip({inner}, itertools.count({self.whole()}))]",
            f"[n * x for n, x in enumerate({inner}, 1)]",
            f"list(reversed({inner}))",
            f"list(range({self.whole()}, {self.whole()}, {self.pick(-2, 3)}))",
            f"({inner} + {self.items()})",
            f"({inner} * {self.pick(0, 1, 2)})",
            f"sorted({{{i} % 5 for {i} in {inner}}})",
            f"list({{{i}: {i} for {i} in {inner}}}.values())",
            f"list(itertools.accumulate({inner}))",
            f"[sum(p) for p in itertools.combinations({inner}, 2)]",
            f"list(dict.fromkeys({inner}))",
        )

    def slice(self) -> str:
        parts = [self.pick("", self.whole()) for _ in range(2)]
        return ":".join([*parts, self.pick("", "2", "-1", "-2")])

    def text(self, depth: int = 1) -> str:
        if depth == 0:
            return self.pick(*_TEXTS, "'xyz'", "'Lorem ipsum'")
        inner, one = self.text(depth - 1), self.number(depth - 1)
        return self.pick(
            f"{inner}.{self.pick('upper', 'lower', 'title', 'swapcase')}()",
            f"({inner} + {self.text(0)})",
            f"{inner}[{self.slice()}]",
            f"f'{{{one}:>{self.pick(4, 8)}}}|{{{one}!r}}'",
            f"f'{{{one}:{self.pick('.2f', '+.1e', ',.0f', '08.3f')}}}'",
            f"'%s-%5.1f' % ({inner}, {one})",
            f"'{{}} and {{1}}'.format({inner}, {one})",
            f"'{{0:>7}}/{{k!r}}'.format({one}, k={inner})",
            f"'-'.join(sorted({inner}))",
            f"str({one})",
            f"repr({self.row(depth - 1)})",
            f"{inner}.replace('l', {self.text(0)})",
            f"{inner}.split('l')[0]",
            f"({inner} * 2)",
            f"max({inner}, {self.text(0)})",
            f"''.join(ch for ch in {inner} if ch not in 'aeiou')",
            f"{inner}.center(9, '*')",
        )

    def value(self) -> str:
        return self.pick(
            self.number(),
            self.number(),
            self.row(2),
            self.text(2),
            self.test(1),
        )

    # === Statements ===

    def block(self, depth: int) -> list[str]:
        lines: list[str] = []
        for _ in range(self.random.randint(1, 3)):
            lines += self.statement(depth)
        return [f"    {line}" for line in lines]

    def statement(self, depth: int) -> list[str]:
        if depth == 0 or self.random.random() < 0.5:
            return self.simple()
        return self.pick(
            self.condition, self.loop, self.while_loop, self.attempt,
            self.function, self.closure, self.generator, self.recursion,
        )(depth)  # fmt: skip

    def simple(self) -> list[str]:
        n, row = self.number_name(), self.list_name()
        i, j = self.name(), self.name()
        return [
            self.pick(
                f"{n} = {self.number()}",
                f"{n} {self.pick('+', '-', '*', '//', '%')}= {self.number(1)}",
                f"{row} = {self.row(2)}",
                f"{row} += {self.row(1)}",
                f"{row} *= 2",
                f"{row} = {self.list_name()}",
                f"{row}.append({self.number()})",
                f"{row}[{self.pick(0, -1, 1)}] = {self.number(1)}",
                f"{row}[{self.pick(0, -1)}] += {self.number(1)}",
                f"{row}[1:{self.pick(2, 3)}] = {self.row(1)}",
                f"{row}.{self.pick('sort', 'reverse', 'pop', 'clear')}()",
                f"{row}.insert(1, {self.number(1)})",
                f"del {row}[{self.pick('0', '1:', '::2', '-1')}]",
                f"out.append({self.value()})",
                f"out.append({self.value()})",
                f"{i}, *{j} = {self.row(2)}; out.append(({i}, {j}))",
                f"*{i}, {j} = {self.row(2)}; out.append(({i}, {j}))",
                f"{i}, {j} = {self.row(1)}; out.append({i})",
                f"({i}, {j}), c = ({self.number(0)}, 1), {self.number(1)}",
                f"{i} = {j} = {row}; {j} += [1]; out.append({i} is {row})",
                f"d[{self.pick('a', 'b', 'z')!r}] = {self.number(1)}",
                f"d[{self.pick('a', 'b', 'q')!r}] += {self.number(1)}",
                f"e = {{k: v for k, v in d.items() if v != {self.number(0)}}}",
                "out.append({**d, 'new': 1} | e)",
                "d |= {'m': 1}",
                f"e.update(n={self.number(0)})",
                f"e.setdefault('k', []).append({self.number(0)})",
                f"s, t = t, {self.text(1)}",
                f"naïve += {self.text(1)}",
                f"q += {self.row(1)}",
                f"q.rotate({self.whole()}); q.appendleft({self.number(0)})",
                f"out.append(Counter({self.text(1)}).most_common(2))",
                f"{i} = defaultdict(int); {i}['u'] += {self.number(0)}; "
                f"out.append(dict({i}))",
                f"{i} = {{1, 2}}; {j} = {i}; {i} |= {{{self.number(0)}}}; "
                f"out.append(sorted({j}))",
                f"{i} = (x for x in {row}); {row} = [7]; out.append(list({i}))",
                f"{i} = iter({self.row(1)}); out.append([next({i}, None), "
                f"*{i}])",
                f"assert {self.test(1)}, {self.text(1)}",
                f"out.append([[r * n for n in {row}] for r in {self.row(1)}])",
                f"out.append(list(zip({self.row(1)}, {self.text(1)})))",
                f"if ({i} := {self.number()}) > 2: out.append({i})",
                f"out.append([y for x in {row} if (y := x * 2) > 1])",
            )
        ]

    def condition(self, depth: int) -> list[str]:
        lines = [f"if {self.test(1)}:", *self.block(depth - 1)]
        if self.random.random() < 0.5:
            lines += [f"elif {self.test(1)}:", *self.block(depth - 1)]
        if self.random.random() < 0.5:
            lines += ["else:", *self.block(depth - 1)]
        return lines

    def loop(self, depth: int) -> list[str]:
        i = self.name()
        source = self.pick(
            f"list({self.row(1)})[:6]", f"range({self.pick(0, 2, 4)})",
            f"enumerate({self.text(1)}[:4])", "list(d.items())",
        )  # fmt: skip
        lines = [f"for {i} in {source}:", f"    {_SHORT}"]
        lines += self.block(depth - 1)
        jump = self.pick("break", "continue", "pass")
        lines += [f"    if {self.test(1)}: {jump}", f"    out.append({i})"]
        if self.random.random() < 0.4:
            lines += ["else:", *self.block(depth - 1)]
        return lines

    def while_loop(self, depth: int) -> list[str]:
        i = self.name()
        lines = [f"{i} = {self.pick(0, 1, 3)}", f"while {i} < 4:"]
        lines += [f"    {_SHORT}"]
        lines += [f"    {i} += 1", f"    if {self.test(1)}: "]
        lines[-1] += self.pick("continue", "break", "out.append('w')")
        lines += self.block(depth - 1)
        if self.random.random() < 0.4:
            lines += ["else:", "    out.append('else')"]
        return lines

    def attempt(self, depth: int) -> list[str]:
        error = self.name()
        lines = ["try:", *self.block(depth - 1)]
        lines += [f"    {self.pick('pass', 'raise ValueError(b)', '1 // 0')}"]
        kind = self.pick(
            _CAUGHT, "ValueError", "ZeroDivisionError", "Exception"
        )
        lines += [f"except {kind} as {error}:", f"    out.append(str({error}))"]
        if self.random.random() < 0.3:
            lines += ["else:", *self.block(depth - 1)]
        if self.random.random() < 0.4:
            lines += ["finally:", *self.block(depth - 1)]
        return lines

    def function(self, depth: int) -> list[str]:
        name, one, two = self.name(), self.name(), self.name()
        arguments = self.pick(
            f"{one}, {two}=[]", f"{one}, *{two}", f"{one}, /, *, {two}=2",
            f"{one}=1, **{two}", f"{one}, {two}={self.number(0)}",
        )  # fmt: skip
        changed = self.pick("global a", "pass", "local = 1", "global xs")
        lines = [f"def {name}({arguments}):", f"    {changed}"]
        lines += [f"    out.append(({one}, {two}))"]
        if two + "=[]" in arguments:
            lines += [f"    {two}.append({one})"]
        if changed.startswith("global"):
            target = changed.split()[1]
            lines += [f"    {target} += {'[3]' if target == 'xs' else '1'}"]
        lines += ["    try:", f"        if {self.test(1)}:"]
        lines += [f"            return {self.value()}", "    finally:"]
        lines += ["        out.append('f')", f"    return {one}"]
        call = self.pick(
            f"{name}({self.number(1)})",
            f"{name}({one}=3)",
            f"{name}(*[{self.number(0)}])",
            f"{name}({self.number(0)}, {self.number(0)})",
            f"{name}(1, {two}={self.number(0)})",
            f"{name}(**{{'{one}': 1}})",
        )
        caught = ["except TypeError:", "    out.append('T')"]
        attempt = ["try:", f"    out.append({call})", f"    out.append({call})"]
        return [*lines, *attempt, *caught]

    def closure(self, depth: int) -> list[str]:
        name, inner, n = self.name(), self.name(), self.name()
        return [
            f"def {name}({n}):",
            f"    def {inner}(k={self.number(0)}):",
            f"        nonlocal {n}",
            f"        {n} {self.pick('+', '-', '*')}= k",
            f"        return [{n} + z for z in range(3) if z != k]",
            f"    {self.pick(n + ' += 1', 'pass', 'local = ' + n)}",
            f"    return {inner}",
            f"{inner} = {name}({self.number(1)})",
            f"out.append(({inner}(), {inner}(2), {inner}()))",
        ]

    def generator(self, depth: int) -> list[str]:
        name, n = self.name(), self.number_name()
        return [
            f"{name} = (x + {n} for x in {self.row(1)} for _ in range(2))",
            f"{n} = {self.number(1)}",
            f"out.append([v for v, _ in zip({name}, range(3))])",
            f"out.append(sum({name}))",
        ]

    def recursion(self, depth: int) -> list[str]:
        name = self.name()
        return [
            f"def {name}(n):",
            f"    if n <= {self.pick(0, 1)}: return {self.number(0)}",
            f"    return {self.pick('n +', '2 *', '1 -')} {name}(n - 1)",
            f"out.append([{name}(n) for n in range({self.pick(3, 5)})])",
        ]
