"""Write docs/rules/ from the doctor's registry: `python -m docs.write_rules`."""

from __future__ import annotations

import ast
import inspect
import sys
from functools import cache
from pathlib import Path

from mha_viz.doctor import RULES, Rule, examine

FOLDER = Path(__file__).resolve().parent / "rules"
ISSUES = "https://github.com/pytorch/pytorch/issues"


class _Public(ast.NodeTransformer):
    """Writes the registry's `Case(...)` as the `mv.check(...)` that a reader can run."""

    def __init__(self, constants: dict[str, ast.expr]) -> None:
        self.constants = constants

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self.constants.get(node.id, node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        match node.func:
            case ast.Name(id="Case"):
                node.func = ast.Name("mv.check")
            case ast.Name(id="mask"):
                return node.args[0]
        return self.generic_visit(node)


@cache
def _examples(module: str) -> dict[str, dict[str, str]]:
    """Return the source of the good and the bad example of each rule of a module."""
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    constants = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name) and target.id.startswith("_")
    }
    found: dict[str, dict[str, str]] = {}
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id="rule"), args=[ast.Constant(value=str(name)), *_], keywords=keywords):
                lambdas = {k.arg: k.value.body for k in keywords if isinstance(k.value, ast.Lambda)}
                found[name] = {
                    kind: ast.unparse(_Public(constants).visit(lambdas[kind])).replace("'", '"')
                    for kind in ("good", "bad")
                }
    return found


def example(rule: Rule, kind: str) -> str:
    """Return the good or the bad example of a rule as a call of `mv.check`."""
    call = ast.parse(_examples(rule.diagnose.__module__)[rule.id][kind], mode="eval").body
    if not isinstance(call, ast.Call):
        raise TypeError(f"the {kind} example of {rule.id} is not a call")
    arguments = [f"    {keyword.arg}={ast.unparse(keyword.value)},".replace("'", '"') for keyword in call.keywords]
    return "\n".join(["mv.check(", *arguments, ")"])


def page(rule: Rule) -> str:
    """Return the page of a rule."""
    sources = [f"[pytorch #{number}]({ISSUES}/{number})" for number in rule.issues]
    found = "\n\n".join(str(finding) for finding in examine(rule.bad()).of(rule.id))
    parts = [
        f"# {rule.title}",
        f"`{rule.id}`, {rule.severity}",
        rule.why,
        "## Found here",
        f"```python\n{example(rule, 'bad')}\n```",
        f"```text\n{found}\n```",
        "## Nothing to find here",
        f"```python\n{example(rule, 'good')}\n```",
        *(["## Where people meet it", ", ".join(sources)] if sources else []),
        "[All rules](README.md)",
    ]
    return "\n\n".join(parts) + "\n"


def index() -> str:
    """Return the page that lists all rules."""
    rows = [f"| [`{rule.id}`]({rule.id}.md) | {rule.severity} | {rule.title} |" for rule in RULES.values()]
    parts = [
        "# What the doctor checks",
        "`mv.check(...)` goes through these rules. An error means that the attention is wrong or the call fails, a "
        "warning that it is probably wrong or works by luck, a note that it is right but easily misread.",
        "\n".join(["| rule | severity | what it finds |", "|---|---|---|", *rows]),
        "These pages are written from the rules themselves.",
    ]
    return "\n\n".join(parts) + "\n"


def pages() -> dict[str, str]:
    """Return the text of every file of docs/rules/ by its name."""
    return {"README.md": index(), **{f"{rule.id}.md": page(rule) for rule in RULES.values()}}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
