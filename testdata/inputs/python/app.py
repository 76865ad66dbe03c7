"""Prints a greeting whose name is escaped for HTML."""

import sys

from markupsafe import Markup


def greet(name):
    return Markup("<h1>Hello, {}!</h1>").format(name)


if __name__ == "__main__":
    print(greet(sys.argv[1] if len(sys.argv) > 1 else "<kiln>"))
