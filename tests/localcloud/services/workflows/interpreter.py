"""Runs a workflow's YAML: the steps that this project uses. What it does not know it names.

Served: assign, call, switch, for, try/retry/except, raise, return, next, steps, subworkflows.
https://docs.cloud.google.com/workflows/docs/reference/syntax
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import yaml

from . import library
from .expressions import Call, Expression, Malformed, Raised, error, get

Json = dict[str, Any]
Builtin = Callable[[Json], Awaitable[Any]]
ENDS = {"end", "break", "continue"}
STEP = {"assign", "call", "args", "result", "switch", "for", "try", "retry", "except", "raise",
        "return", "next", "steps"}  # fmt: skip
POLICIES = ("http.default_retry", "http.default_retry_non_idempotent")
POLICY = {"max_retries": 5, "backoff": {"initial_delay": 1, "max_delay": 60, "multiplier": 1.25}}
DEEPEST = 20  # calls of subworkflows within each other
MOST = 100_000  # steps of an execution


class _Return(Exception):
    def __init__(self, value: Any) -> None:
        super().__init__()
        self.value = value


class Program:
    """A workflow's source, checked.

    Raises:
        Malformed: it is not YAML of a workflow, or holds what is not served, by name.
    """

    def __init__(self, source: str) -> None:
        try:
            document = yaml.safe_load(source)
        except yaml.YAMLError as wrong:
            raise Malformed(f"parse error: {wrong}") from None
        if isinstance(document, list):
            document = {"main": {"steps": document}}
        if not isinstance(document, dict) or "main" not in document:
            raise Malformed("parse error: a workflow needs main")
        self.routines: dict[str, Json] = document
        self._expressions: dict[str, Expression] = {}
        for name, routine in document.items():
            if not isinstance(routine, dict) or routine.keys() - {"params", "steps"}:
                raise Malformed(f"parse error: {name} has other than params and steps")
            self._check(routine.get("steps"), name)

    def _check(self, steps: Any, where: str) -> None:
        if not isinstance(steps, list) or not steps:
            raise Malformed(f"parse error: {where} needs a list of steps")
        for item in steps:
            if not isinstance(item, dict) or len(item) != 1:
                raise Malformed(f"parse error: a step of {where} is not a name and its content")
            ((name, step),) = item.items()
            if not isinstance(step, dict) or (wrong := step.keys() - STEP):
                named = ", ".join(sorted(wrong)) if isinstance(step, dict) else step
                raise Malformed(f"not implemented: {named} in step {name} of {where}")
            self._check_parts(step, name)

    def _check_parts(self, step: Json, name: str) -> None:
        for value in (step.get(k) for k in STEP - {"steps", "for", "try", "except", "switch"}):
            self._compile(value)
        for branch in step.get("switch", ()):
            for key, value in branch.items():
                if key == "steps":
                    self._check(value, name)
                else:
                    self._compile(value)
        for key in ("for", "try", "except"):
            inner = step.get(key)
            if isinstance(inner, dict) and "steps" in inner:
                self._check(inner["steps"], name)
            if isinstance(inner, dict):
                self._compile({k: v for k, v in inner.items() if k != "steps"})
        if "steps" in step:
            self._check(step["steps"], name)
        call = step.get("call") or (step.get("try") or {}).get("call")
        if call and call not in {*self.routines, *library.FUNCTIONS, *BUILTIN}:
            raise Malformed(f"not implemented: call {call} in step {name}")

    def _compile(self, value: Any) -> None:
        if isinstance(value, dict):
            for item in value.values():
                self._compile(item)
        elif isinstance(value, list):
            for item in value:
                self._compile(item)
        elif isinstance(value, str) and "${" in value:
            self.expression(value)

    def expression(self, text: str) -> Expression:
        """The expression that a whole string is."""
        if text not in self._expressions:
            if not (text.startswith("${") and text.endswith("}") and text.count("${") == 1):
                raise Malformed(f"not implemented: an expression within a text: {text!r}")
            self._expressions[text] = Expression(text[2:-1])
        return self._expressions[text]


BUILTIN = {
    *("http.get", "http.post", "http.put", "http.patch", "http.delete", "http.request"),
    *("sys.sleep", "sys.log", "sys.get_env", "sys.now"),
    *("events.create_callback_endpoint", "events.await_callback"),
}


class Machine:
    """One execution of a program.

    Args:
        builtins: the functions that need the cloud, by the names in BUILTIN; they take their
            arguments by name.
    """

    def __init__(self, program: Program, builtins: dict[str, Builtin]) -> None:
        self._program, self._builtins = program, builtins
        self._steps = self._depth = 0
        self.place = ("", "")  # routine and step, for whoever asks how far it is

    async def run(self, argument: Any) -> Any:
        """The result of main. Raises Raised."""
        names = self._program.routines["main"].get("params") or []
        return await self._routine("main", {str(names[0]): argument} if names else {})

    async def _routine(self, name: str, given: Json) -> Any:
        routine, variables = self._program.routines[name], {}
        for param in routine.get("params") or []:
            if isinstance(param, dict):
                ((param, usual),) = param.items()
                variables[param] = given.get(param, usual)
            elif param not in given:
                raise error("TypeError", f"{name} needs the argument {param}")
            else:
                variables[param] = given[param]
        self._depth += 1
        if self._depth > DEEPEST:
            raise error("RecursionError", "too many calls within each other")
        try:
            await self._run(name, routine["steps"], variables)
        except _Return as returned:
            return returned.value
        finally:
            self._depth -= 1
        return None

    async def _run(self, routine: str, steps: list[Json], variables: Json) -> str:
        """Steps in their order and as they jump: "end", "break", "continue", or a step outside."""
        names, index = [next(iter(step)) for step in steps], 0
        while index < len(steps):
            self._steps += 1
            if self._steps > MOST:
                raise error("ResourceLimitError", f"more than {MOST} steps")
            self.place = (routine, names[index])
            target = await self._step(routine, steps[index][names[index]], variables)
            if target in names:
                index = names.index(target)
            elif target:
                return target
            else:
                index += 1
        return ""

    async def _step(self, routine: str, step: Json, variables: Json) -> str:
        """One step; where it jumps to, "" for the next."""
        target = ""
        if "assign" in step:
            for one in step["assign"]:
                ((name, value),) = one.items()
                await self._assign(str(name), await self._value(value, variables), variables)
        elif "call" in step:
            result = await self._call(step["call"], step.get("args"), variables)
            if "result" in step:
                variables[step["result"]] = result
        elif "switch" in step:
            target = await self._switch(routine, step["switch"], variables)
        elif "for" in step:
            target = await self._for(routine, step["for"], variables)
        elif "try" in step:
            target = await self._try(routine, step, variables)
        elif "steps" in step:
            target = await self._run(routine, step["steps"], variables)
        if "raise" in step:
            raise Raised(await self._value(step["raise"], variables))
        if "return" in step:
            raise _Return(await self._value(step["return"], variables))
        target = target or step.get("next", "")
        if target == "end":
            raise _Return(None)
        return str(target)

    async def _switch(self, routine: str, branches: list[Json], variables: Json) -> str:
        for branch in branches:
            if await self._value(branch.get("condition", True), variables) is True:
                step = {k: v for k, v in branch.items() if k != "condition"}
                return await self._step(routine, step, variables)
        return ""

    async def _for(self, routine: str, loop: Json, variables: Json) -> str:
        if loop.keys() - {"value", "index", "in", "range", "steps"}:
            raise error("ValueError", "not implemented: a loop of this kind")
        if "range" in loop:
            low, high = await self._value(loop["range"], variables)
            items = list(range(low, high + 1))
        else:
            items = list(await self._value(loop["in"], variables))
        inner = dict(variables)
        for index, item in enumerate(items):
            inner |= {loop["value"]: item} | ({loop["index"]: index} if "index" in loop else {})
            target = await self._run(routine, loop["steps"], inner)
            variables |= {k: v for k, v in inner.items() if k in variables}
            if target == "break":
                break
            if target not in ("", "continue"):
                return target
        return ""

    async def _try(self, routine: str, step: Json, variables: Json) -> str:
        body, policy, attempt = step["try"], await self._policy(step.get("retry"), variables), 0
        while True:
            try:
                return await self._step(routine, body, variables)
            except Raised as raised:
                spent = policy is None or attempt >= policy["max_retries"]
                if policy and not spent and await self._wants(policy["predicate"], raised.value):
                    backoff = policy["backoff"]
                    delay = backoff["initial_delay"] * backoff["multiplier"] ** attempt
                    attempt += 1
                    seconds = min(delay, backoff["max_delay"])
                    await self._builtins["sys.sleep"]({"seconds": seconds})
                    continue
                if "except" not in step:
                    raise
                name = step["except"].get("as", "")
                inner = variables | ({name: raised.value} if name else {})
                target = await self._run(routine, step["except"]["steps"], inner)
                variables |= {k: v for k, v in inner.items() if k != name}
                return target

    async def _policy(self, retry: Any, variables: Json) -> Json | None:
        if retry is None:
            return None
        if isinstance(retry, str):
            name = retry.removeprefix("${").removesuffix("}").strip()
            if name not in POLICIES:
                raise error("ValueError", f"not implemented: retry {retry}")
            return POLICY | {"predicate": f"{name}_predicate"}
        predicate = str(retry["predicate"]).removeprefix("${").removesuffix("}").strip()
        values = {k: await self._value(v, variables) for k, v in retry.items() if k != "predicate"}
        return POLICY | values | {"predicate": predicate}

    async def _wants(self, predicate: str, value: Any) -> bool:
        if predicate in {f"{name}_predicate" for name in POLICIES}:
            return library.retried(predicate.removesuffix("_predicate"), value)
        if predicate not in self._program.routines:
            raise error("ValueError", f"not implemented: predicate {predicate}")
        params = self._program.routines[predicate]["params"]
        return await self._routine(predicate, {params[0]: value}) is True

    async def _call(self, name: str, args: Any, variables: Json) -> Any:
        given = await self._value(args or {}, variables)
        return await self._perform(name, given)

    async def _perform(self, name: str, given: Any) -> Any:
        if name in self._program.routines:
            if isinstance(given, list):
                params = self._program.routines[name].get("params") or []
                named = [next(iter(p)) if isinstance(p, dict) else p for p in params]
                given = dict(zip(named, given, strict=False))
            return await self._routine(name, given)
        if name in self._builtins:
            if isinstance(given, list):
                given = {"name": given[0]} if given else {}
            return await self._builtins[name](given)
        if name in library.FUNCTIONS:
            return library.perform(name, given)
        raise error("ValueError", f"not implemented: {name}")

    async def _value(self, value: Any, variables: Json) -> Any:
        if isinstance(value, dict):
            return {k: await self._value(v, variables) for k, v in value.items()}
        if isinstance(value, list):
            return [await self._value(item, variables) for item in value]
        if isinstance(value, str) and value.startswith("${"):
            call: Call = self._perform
            return await self._program.expression(value).value(variables, call)
        return value

    async def _assign(self, target: str, value: Any, variables: Json) -> None:
        """To a variable, or to a member: a.b, a["b"], a[0]."""
        if target.isidentifier():
            variables[target] = value
            return
        parts = Expression(target).target
        if parts is None:
            raise error("ValueError", f"not implemented: an assignment to {target}")
        into, key = [await part.value(variables, self._perform) for part in parts]
        if isinstance(into, list):
            get(into, key)
        into[key] = value


def result_text(value: Any) -> str:
    return json.dumps(value, default=library.plain)
