"""The spellings that ``spellings.py`` plays, by kind: of messages, calls and values."""

from __future__ import annotations

# What may differ, as docs/bfcl_v3.md lists it; each is the name of a kind of spelling below.
LISTED = (
    "python's own name", "bytes", "complex number", "half a character", "formatted text", "call in arithmetic",
    "large step of arithmetic", "odd key",
)  # fmt: skip
# {0} is the list of calls without its brackets.
MESSAGES = {
    "plain": ["[{0}]"],
    "no brackets": ["{0}", "{0}]", "[{0}"],
    "round or curly brackets": ["({0})", "([{0}])", "{{{0}}}", "[({0})]", "({0},)"],
    "doubled brackets": ["[[{0}]]", "[[[{0}]]]", "[[{0}]", "[{0}]]", "[ [{0}] ]"],
    "quoted": ["'[{0}]'", '"[{0}]"', "['{0}']", '["{0}"]', "'{0}", "''{0}''", "\"'{0}'\"", "'[{0}]", "[{0}]'"],
    "fenced": [
        "```[{0}]```", "```python\n[{0}]\n```", "```\n[{0}]\n```", "`[{0}]`", "```json\n[{0}]\n```",
        "``[{0}]``\n",
    ],
    "comment": ["[{0}] # done", "[{0}]  # [x]", "# first\n[{0}]", "[{0} # x\n]", "[# x\n{0}]", "{0} # x", "{0} # ]"],
    "blanks": [
        " [{0}] ", "\n[{0}]\n", "\t[{0}]\t", "[ {0} ]", "[\t{0}]", "\u00a0[{0}]", "\ufeff[{0}]", "[{0}]\r\n", "[\n{0}]",
    ],
    "lines": [
        "[\n    {0}\n]", "[\n{0}\n]", "[\r\n  {0}\r\n]", "[{0}\n]", "[\n\n {0}]", "\n  {0}\n", "[  \n{0}]", "[\\\n{0}]",
    ],
    "trailing comma": ["[{0},]", "{0},", "[{0}, ]", "[{0},,]", "[,{0}]"],
    "text around": [
        "Sure: [{0}]", "[{0}] Done.", "[{0}]\n\nDone.", "I call [{0}] now", "Answer:\n[{0}]", "[{0}][0]", "[{0}].",
        "[{0}]; [{0}]", "[{0}] [{0}]", "[{0}]\n[{0}]", "[{0}], [{0}]", "<think>x</think>[{0}]", "{0}; {0}", "{0}\n{0}",
        "<tool_call>[{0}]</tool_call>",
    ],
    "python around": [
        "x = [{0}]", "return [{0}]", "await [{0}]", "[*[{0}]]", "[{0} for x in y]", "not [{0}]", "lambda: [{0}]",
        "[{0}] if x else y", "(x := [{0}])", "[{0}] + [{0}]", "[{0}] and x", "{0} or x", "-[{0}]", "f'{{[{0}]}}'",
    ],
    "python's own name": ["list([{0}])", "print([{0}])"],
    "other items": ['[{0}, "done"]', "[{0}, None]", "[{0}, 1]", "[..., {0}]", "[{0}, []]", "[{0}, word]", "[{0}, x.y]"],
    "many calls": ["[{0}, " + ", ".join(["no_such_tool()"] * 80) + "]", "[" + "no_such_tool(), " * 200 + "{0}]"],
    "repeated": ["[{0}, {0}]"],
    "prose": [
        "Which file(s) do you mean?", "Do you want f(x) or the folder?", "The amount (in USD).", "[Note] Done.",
        "[", "]",
        "[]", "[ ]", "()", "{{}}", "''", "``", "[[]]", "", " ", "None", "word", "[word]", "[1, 2]",
        "[link](url)", "...",
        "I moved the file(s); see final_report(1).pdf", '{{"name": "ls", "parameters": {{}}}}', "[None]", "[()]",
    ],
}  # fmt: skip
# {0} is the name, {1} are the arguments.
CALLS = {
    "plain": ["{0}({1})"],
    "class name": ["GorillaFileSystem.{0}({1})", "TwitterAPI.{0}({1})", "MathAPI.{0}({1})"],
    "self or functions": ["self.{0}({1})", "functions.{0}({1})", "api.v1.{0}({1})", "functions.run.{0}({1})"],
    "function that is no name": [
        "x[0].{0}({1})", "f().{0}({1})", "'x'.{0}({1})", "({0})({1})", "{0}({1})()",
        "(1)({1})",
    ],
    "blank before bracket": [
        "{0} ({1})", "{0}\n({1})", "{0}\t({1})", "{0}\\\n({1})", "{0}( {1} )", "{0}(\n  {1}\n)",
    ],
    "other name": [
        "{0}s({1})", "no_such_tool({1})", "no-such-tool({1})", "{0}.__call__({1})", "_{0}({1})", "if({1})",
        "{0}.x({1})",
    ],
    "forbidden name": ["run({1})", "kill({1})", "os.remove({1})", "exit.now({1})", "a.b.popen({1})"],
    "python's own name": [
        "print({1})", "str(object='x')", "dict({1})", "str()", "sorted({1})", "json.dumps(obj='x')", "str.{0}({1})",
    ],
    "more arguments": [
        "{0}({1}, extra=1)", "{0}(**{{}}, {1})", "{0}(*[], {1})", "{0}({1}, **{{'a': 1}})", "{0}(1, {1})",
    ],
    "trailing comma of arguments": ["{0}({1},)", "{0}({1}, )", "{0}({1},,)", "{0}(,{1})"],
    "broken": ["{0}({1}", "{0}{1})", "{0}[{1}]", "{0}<{1}>", "{0}: {1}", "{0}({1}))", "{0}(({1}))"],
    "keyword before": [
        "await {0}({1})", "not {0}({1})", "-{0}({1})", "*{0}({1})", "{0}({1}) if 1 else 2", "x={0}({1})",
    ],
    "one of two": ["{0}({1}), no_such_tool()", "no_such_tool(), {0}({1})", "{0}({1}), {0}({1})"],
    "name": ["{0}"],
}  # fmt: skip
# {0} is the value as Python writes it.
ANY_VALUE = {
    "brackets": ["({0})", "(({0}))", "[{0}]", "({0},)", "{{{0}}}", "[{0}][0]", "({0})[0]"],
    "dict": [
        "{{}}", "{{'a': {0}}}", "{{'a': {{'b': {0}}}}}", "{{1: {0}}}", "{{'a': {{}}}}", "{{'a': {0}, 'b': {{'c': 1}}}}",
        "[{{}}]", "[{{'a': {{}}}}]",
    ],
    "odd key": [
        "{{\"it's\": {0}}}", "{{(1, 2): {0}}}", "{{None: {0}}}", "{{**{{}}}}", "{{x: {0}}}", "{{'a\\n': {0}}}",
        "[{{(1, 2): {0}}}]", "[{{b'x': {0}}}]", "{{\"a': x, 'b\": {0}}}", "{{[1]: {0}}}",
    ],
    "nested call": [
        "no_such_tool(a={0})", "no_such_tool({0})", "no_such_tool()", "[no_such_tool(a={0})]", "x.y(a={0})",
        "{{'a': no_such_tool(a={0})}}", "f(a=g(b={0}))", "f()(a={0})",
    ],
    "expression": [
        "{0} if 1 else 2", "(x := {0})", "lambda: {0}", "{0} and x", "{0} == x", "[{0} for x in y]", "x.y", "x[{0}]",
        "x[1:2]", "*{0}", "...", "await {0}", "not {0}", "~{0}", "- {0}", "-(-{0})", "+{0}", "-x", "-x.y", "(yield)",
    ],
    "word": ["word", "true", "false", "null", "None", "True", "inf", "nan", "self"],
    "infinity": ["1e999", "-1e999", "[1e999]", "1e999 - 1e999", "-(1e999 - 1)", "{{'a': 1e999}}"],
    "python's own name": ["str(object={0})", "dict(a={0})", "{{'str': {{'object': {0}}}}}"],
    "complex number": ["1j", "-1j", "[2j]", "1j * 1j"],
    "bytes": ["b'x'", "[b'x']", "b'x' * 2", "rb'x'"],
}  # fmt: skip
# {0} is the value as Python writes it, {1} is what is inside its quotes.
TEXTS = {
    "quotes": [
        '"{1}"', "'''{1}'''", '"""{1}"""', "r'{1}'", "u'{1}'", "U'{1}'", "f'{1}'", 'R"{1}"', "'{1}", "{1}",
        "\u201c{1}\u201d",
    ],
    "joined": ["'' {0}", "{0} ''", "('' {0})", "{0}\n''", "u'' {0}", "('{1}'\n  '')"],
    "text arithmetic": [
        "'' + {0}", "{0} + ''", "{0} * 1", "1 * {0}", "('' + {0}) + ''", "{0} - 1", "{0} + 1", "{0} * 5", "{0} * True",
    ],
    "formatted text": ["'%s' % {0}", "'%s' % ({0},)", "{0} % ()"],
    "call in arithmetic": [
        "str() + {0}", "str({0}) + ''", "len({0}) + 1", "''.join([{0}]) + ''", "(1 if 1 else 2) + 3", "__name__ + {0}",
    ],
    "call without names": ["str({0})", "{0}.strip()", "format({0})", "open({0})"],
    "escapes": [
        "'{1}\\x20'", "'\\x41{1}'", "'{1}\\d'", "'{1}\\\n'", "'{1}\n'", "'{1}\\N{{DIGIT ONE}}'", "'{1}\\0'",
        "'\x00{1}'",
        "'{1}\u00e9'", "'{1}\U0001f600'", "'{1}\\'",
    ],
    "half a character": ["'{1}\\ud800'", "'\\udfff'"],
    "bracket in a text": [
        "'{1} (x)'", "'{1}  (x)'", "'Hello (all)'", "'ls (x)'", "'{1} post_tweet(x)'", "'cd  (a) sort(b)'",
        "'a\\n (x)'",
        "['mv (x)']", "{{'ls (x)': 1}}", "'(x)'", "'{1}\\n(x)'",
    ],
}  # fmt: skip
NUMBERS = {
    "signs": ["+{0}", "- {0}", "--{0}", "+-{0}", "~{0}", "not {0}", "-(-{0})", "(-{0})", "-True", "-'x'", "- - 1"],
    "other bases": ["0x1F", "0b11", "0o17", "007", "1_000", "1__0", "0x_f", "00", "{0}_0", "0xg"],
    "same number": ["{0}.0", "'{0}'", "{0}e0", "({0})", "{0} ", "{0}.", "\uff11"],
    "arithmetic": [
        "{0} + 0", "{0} * 1", "2 + 3", "2 ** 10", "7 // 2", "7 % 4", "1 / 0", "1 << 4", "6 / 2", "1 | 2", "2 ** -1",
        "-2 ** 2", "(1 + 2) * 3", "+{0} + 0", "not 1 + 1", "~1 + 1", "2 ** 20000", "1 << 20000", "1 @ 2", "6 & 3",
        "8 >> 1", "5 ^ 1", "10.5 % 3", "1.5 + {0}", "{0} + True", "1 << -1", "2.0 ** 5000", "[{0}] * 2", "[1] + [{0}]",
    ],
    "large step of arithmetic": ["'x' * 3000", "2 ** 20000 % 7", "(2 ** 16000) // (2 ** 15990)"],
    "long number": [
        "9" * 70, "9" * 4_000, "9" * 4_300, "9" * 5_000, "0x" + "f" * 3_000, "0x" + "f" * 9_000, "1." + "3" * 300,
        "0." + "0" * 400 + "1",
    ],
}  # fmt: skip
EDITS = "[](){},='\"\\\n #:.*-+`x1"
