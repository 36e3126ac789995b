#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""config.py KCONFIG AUTO_CONF [CONFIG]: the values of the series' own Kconfig symbols, as compiler and make want them.

The shipped kernel's configuration does not know these symbols.  Their defaults come from KCONFIG, what they depend on
from AUTO_CONF (include/config/auto.conf), other values from the file CONFIG (lines CONFIG_NAME=value) and from the
environment, which wins.  Prints one line of -D options and one of make assignments.

Understood of the language: menu, if, config, choice, bool, int, string, prompt, default (with an if), depends on, range.
"""

import os
import re
import sys


class Symbol:
    """A config entry."""

    def __init__(self, name, choice):
        self.name, self.choice = name, choice
        self.kind = None
        self.defaults, self.depends, self.range = [], [], None      # conditions are text


class Choice:
    """A choice entry: one of its members is y."""

    def __init__(self):
        self.defaults, self.depends, self.members = [], [], []


def fail(text):
    sys.exit(f"config: {text}")


def parse(path):
    """{name: Symbol} of a Kconfig file."""
    symbols, current, choice, help_indent = {}, None, None, None
    around = []     # the conditions of each menu and if that this is within
    with open(path, encoding="utf-8") as file:
        lines = file.read().expandtabs(8).split("\n")
    for number, line in enumerate(lines, 1):
        text = line.strip()
        indent = len(line) - len(line.lstrip())
        if help_indent is not None and (not text or indent > help_indent):
            continue
        help_indent = None
        word, _, rest = text.partition(" ")
        rest = rest.strip()
        if not text or text.startswith("#"):
            continue
        if word == "config":
            current = symbols[rest] = Symbol(rest, choice)
            current.depends += [condition for conditions in around for condition in conditions]
            if choice:
                choice.members.append(current)
        elif word in ("menu", "if"):
            around.append([rest] if word == "if" else [])
            current = around[-1]
        elif word in ("endmenu", "endif"):
            current = around.pop()
        elif word == "choice":
            current = choice = Choice()
        elif word == "endchoice":
            current = choice = None
        elif word in ("bool", "int", "string"):
            current.kind = word
        elif word == "default":
            value, _, condition = rest.partition(" if ")
            current.defaults.append((value.strip(), condition))
        elif word == "depends":
            (current if isinstance(current, list) else current.depends).append(rest.removeprefix("on "))
        elif word == "range":
            current.range = tuple(int(bound, 0) for bound in rest.split()[:2])
        elif word in ("help", "---help---"):
            help_indent = indent
        elif word != "prompt":
            fail(f"{path}:{number}: do not understand `{text}`")
    return symbols


def assignments(path):
    """{name: value} of the CONFIG_ lines in a file."""
    with open(path, encoding="utf-8") as file:
        return {match[1]: match[2].strip('"') for match in re.finditer(r"^CONFIG_(\w+)=(.*)$", file.read(), re.M)}


def holds(condition, values):
    """Whether a Kconfig condition is other than n."""
    if not condition:
        return True
    words = re.findall(r"\w+|&&|\|\||[!()]", condition)
    names = {"&&": "and", "||": "or", "!": "not", "(": "(", ")": ")", "y": "True", "n": "False"}
    return eval(" ".join(names.get(word) or str(values.get(word) in ("y", "m")) for word in words), {})


def default(entry, values):
    return next((value for value, condition in entry.defaults if holds(condition, values)), None)


def checked(symbol, value):
    """VALUE, if SYMBOL can have it."""
    if symbol.kind == "bool":
        if value not in ("y", "n"):
            fail(f"CONFIG_{symbol.name}={value}: y or n is wanted")
    elif symbol.kind == "int":
        if not re.fullmatch(r"-?\d+", value):
            fail(f"CONFIG_{symbol.name}={value}: a number is wanted")
        if symbol.range and not symbol.range[0] <= int(value) <= symbol.range[1]:
            fail(f"CONFIG_{symbol.name}={value}: not between {symbol.range[0]} and {symbol.range[1]}")
        value = str(int(value))
    return value


def chosen(choice, asked, values):
    """The member of CHOICE that is y."""
    names = [member.name for member in choice.members]
    picked = [name for name in names if asked.get(name) == "y"]
    if len(picked) > 1:
        fail(" and ".join(f"CONFIG_{name}=y" for name in picked) + " exclude each other")
    refused = [name for name in names if asked.get(name) == "n"]
    if picked:
        return picked[0]
    usual = default(choice, values) or names[0]
    left = [name for name in [usual, *names] if name not in refused]
    return left[0] if left else fail(f"one of {', '.join('CONFIG_' + name for name in names)} has to be y")


def main():
    kconfig, auto_conf, *config = sys.argv[1:]
    if not os.path.exists(kconfig):
        print("\n")
        return
    symbols = parse(kconfig)
    values = assignments(auto_conf)
    asked = {}
    for file in config:
        if os.path.exists(file):
            asked.update(assignments(file))
    asked.update({name[7:]: value for name, value in os.environ.items() if name.startswith("CONFIG_KVM_")})
    for name, value in asked.items():
        if name not in symbols:
            fail(f"CONFIG_{name}={value}: the series has no such symbol, only " +
                 ", ".join("CONFIG_" + symbol for symbol in symbols))
        checked(symbols[name], value)
    result = {}
    for name, symbol in symbols.items():
        choice = symbol.choice
        if not all(holds(condition, values) for condition in symbol.depends + (choice.depends if choice else [])):
            continue
        if choice:
            value = "y" if chosen(choice, asked, values) == name else "n"
        else:
            value = asked.get(name) or default(symbol, values) or {"bool": "n", "int": "0", "string": ""}[symbol.kind]
        result[name] = values[name] = checked(symbol, value)
    defines, variables = [], []
    for name, value in result.items():
        kind = symbols[name].kind
        if kind == "bool" and value == "n":
            continue
        quoted = {"bool": "1", "int": value, "string": f'\\"{value}\\"'}[kind]
        defines.append(f"-DCONFIG_{name}={quoted}")
        variables.append(f"CONFIG_{name}={value}")
    print(" ".join(defines))
    print(" ".join(variables))


if __name__ == "__main__":
    main()
