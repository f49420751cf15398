"""A job's outcomes from its processes: one function for each kind of job. Starts nothing by itself."""

import os
import secrets
import signal
from collections.abc import Callable, Iterator

from nblib.sandbox.inside.processes import BrokenError, Process, Supply

OK, FAILED, RUNTIME_ERROR = "ok", "failed", "runtime_error"
COMPILE_ERROR, TIME_OUT, OUT_OF_MEMORY = "compile_error", "time_out", "out_of_memory"
_MESSAGE = 500
_NO_MEMORY = (  # how the last line of standard error says so
    "MemoryError", "OSError: [Errno 12]", "numpy.core._exceptions._ArrayMemoryError",
    "terminate called after throwing an instance of 'std::bad_alloc'",
)  # fmt: skip
_BEFORE = "before the check did"


def run(supply: Supply, job: dict, limits: dict) -> Iterator[dict]:
    """The outcomes in the job's order, each as it comes."""
    part, outcomes = _KINDS[job["kind"]]
    count, late = len(job[part]), 0
    for done, outcome in enumerate(outcomes(supply, job, limits), start=1):
        yield outcome
        late += outcome["status"] == TIME_OUT
        if late >= limits["time_outs"] and done < count:
            supply.release()
            rest = _outcome(TIME_OUT, f"not run: {late} outcomes of this program ran out of time before")
            yield from [rest] * (count - done)
            return


def _outcome(status: str, message: str = "", cpu: float = 0.0, output: str | None = None, inside: bool = False) -> dict:
    message = message[:_MESSAGE]
    return {"status": status, "output": output, "message": message, "cpu_seconds": cpu, "inside": inside}


# --- script ---------------------------------------------------------------------------------------------------------


def _script(supply: Supply, job: dict, limits: dict) -> Iterator[dict]:
    for number, text in enumerate(job["inputs"]):
        process = supply.start("program", limits, text=text)
        supply.tell(process, {"mode": "script", "code": job["code"]})
        failure = _not_compiled(supply, process)
        outcome = failure or _with_output(process, supply.finish(process))
        supply.release()
        if failure is not None and failure["status"] == COMPILE_ERROR:
            yield from [failure] * (len(job["inputs"]) - number)
            return
        yield outcome


def _not_compiled(supply: Supply, process: Process) -> dict | None:
    message = supply.hear(process)
    if message is None:
        end = _ended(process, supply.finish(process))
        return end if end["status"] in (TIME_OUT, OUT_OF_MEMORY) else end | {"status": COMPILE_ERROR}
    if "broken" in message:
        raise BrokenError(message["broken"])
    return _outcome(COMPILE_ERROR, message["compile_error"]) if "compile_error" in message else None


# --- function -------------------------------------------------------------------------------------------------------


def _function(supply: Supply, job: dict, limits: dict) -> Iterator[dict]:
    """One program serves all calls, and another one those after its end."""

    def call(process: Process, arguments: str) -> dict:
        reply = _answer(supply, process, {"json": arguments}, "during the call")
        if "status" in reply:
            return reply
        if (cpu := supply.renew(process)) > limits["cpu_seconds"]:
            return _outcome(TIME_OUT, _too_slow(process, "cpu"), cpu)
        if isinstance(reply.get("value"), str):
            return _outcome(OK, cpu=cpu, output=reply["value"])
        if "none" in reply:
            return _outcome(OK, str(reply["none"]), cpu)
        return _outcome(OUT_OF_MEMORY if reply.get("memory") is True else RUNTIME_ERROR, str(reply.get("error")), cpu)

    return _in_turn(supply, job | {"setup": ""}, limits, job["arguments"], lambda process: (process, call))


def _in_turn(supply: Supply, job: dict, limits: dict, questions: list, begin: Callable) -> Iterator[dict]:
    """An outcome for each question; `begin(process)` gives what is asked, and how, or a failure."""
    done = 0
    while done < len(questions):
        process = supply.start("program", limits, outcomes=len(questions) - done + 1)
        supply.tell(process, {"mode": "asked", "code": job["code"], "setup": job["setup"], "name": job["name"]})
        failure = _not_ready(supply, process)
        if failure is None:
            asked, ask = begin(process)
            failure = ask if isinstance(ask, dict) else None
        if failure is not None:
            supply.release()
            yield from [failure] * (len(questions) - done)
            return
        while done < len(questions) and process.end is None and asked.end is None:
            supply.renew(process)
            yield ask(process, questions[done])
            done += 1
        supply.release()


def _not_ready(supply: Supply, process: Process) -> dict | None:
    """What went wrong while the code was compiled and run, if anything."""
    failure = _not_compiled(supply, process)
    if failure is not None:
        return failure
    if supply.hear(process) == {"ready": True}:
        return None
    end = _ended(process, supply.expect_end(process))
    return _outcome(RUNTIME_ERROR, "the program ended before it was asked") if end["status"] == OK else end


def _answer(supply: Supply, process: Process, question: dict, during: str) -> dict:
    """What the program answers, or the outcome where it ended."""
    supply.tell(process, question)
    reply = supply.hear(process)
    if isinstance(reply, dict) and "status" not in reply:
        return reply
    end = _ended(process, supply.expect_end(process))
    if end["status"] == OK:
        return _outcome(RUNTIME_ERROR, f"the program ended {during}", end["cpu_seconds"])
    return end


# --- checks ---------------------------------------------------------------------------------------------------------


def _checked(supply: Supply, job: dict, limits: dict) -> Iterator[dict]:
    """Checks by the judge, one program for as many as follow each other; each of those inside by a fresh program."""
    checks, inside = job["checks"], set(job["inside"])
    number = 0
    while number < len(checks):
        end = number
        while end < len(checks) and end not in inside:
            end += 1
        if end > number:
            yield from _in_turn(supply, job, limits, checks[number:end], lambda process: _judge(supply, process, job))
        if end < len(checks):
            yield from _in_turn(supply, job, limits, checks[end : end + 1], _inside(supply))
        number = end + 1


def _judge(supply: Supply, process: Process, job: dict) -> tuple[Process, Callable | dict]:
    limits = process.limits | {"processes": process.limits["processes"] + 4}
    judge = supply.start("judge", limits, outcomes=process.outcomes)
    supply.tell(judge, {"setup": job["setup"], "name": job["name"], "data": job["data"]})
    message = supply.hear(judge)
    if message is None:
        end = _ended(judge, supply.finish(judge))
        return judge, end | {"status": RUNTIME_ERROR if end["status"] == OK else end["status"]}
    if "broken" in message:
        raise BrokenError(message["broken"])
    if "setup_error" in message:
        return judge, _outcome(RUNTIME_ERROR, f"the setup failed: {message['setup_error']}")
    return judge, lambda process, text: _check(supply, process, judge, text)


def _check(supply: Supply, process: Process, judge: Process, text: str) -> dict:
    """One check's outcome: carries the judge's questions to the program and the answers back."""
    supply.renew(judge)
    supply.tell(judge, {"check": text})
    while True:
        reply = supply.hear(judge)
        if reply is None:
            end = _ended(judge, supply.finish(judge))
            return end | {"status": FAILED if end["status"] == OK else end["status"]}
        if "ask" not in reply:
            break
        answer = _answer(supply, process, reply["ask"], _BEFORE)
        if "status" in answer:
            return answer
        supply.tell(judge, answer)
    cpu = supply.renew(process)
    if cpu > process.limits["cpu_seconds"]:
        return _outcome(TIME_OUT, _too_slow(process, "cpu"), cpu)
    status = {"ok": OK, "failed": FAILED, "raised": RUNTIME_ERROR}[reply["verdict"]]
    if reply["message"].startswith("MemoryError"):
        status = OUT_OF_MEMORY
    return _outcome(status, reply["message"], cpu)


def _inside(supply: Supply) -> Callable:
    """The program's process runs the check, and can give back the secret only from behind its end."""

    def ask(process: Process, text: str) -> dict:
        secret = secrets.token_hex(16)
        reply = _answer(supply, process, {"check": {"text": text, "secret": secret}}, _BEFORE)
        if "status" in reply:
            return reply | {"inside": True}
        cpu = supply.renew(process)
        if cpu > process.limits["cpu_seconds"]:
            return _outcome(TIME_OUT, _too_slow(process, "cpu"), cpu, inside=True)
        if reply.get("reached") == secret:
            return _outcome(OK, cpu=cpu, inside=True)
        raised = reply.get("raised") or reply.get("error") or ["AssertionError"]
        failed = raised[0] == "AssertionError"
        line = str(reply.get("line") or reply.get("error") or "the check did not run to its end")
        status = OUT_OF_MEMORY if reply.get("memory") is True else FAILED if failed else RUNTIME_ERROR
        return _outcome(status, line, cpu, inside=True)

    return lambda process: (process, ask)


# --- how a program ended --------------------------------------------------------------------------------------------


def _ended(process: Process, end: dict) -> dict:
    """The outcome of a process that has ended."""
    return _with_output(process, end) | {"output": None}


def _with_output(process: Process, end: dict) -> dict:
    """The same with all that it wrote to standard output."""
    cpu, status = end["cpu"], end["status"]
    reason = process.reason if process.reason in ("output", "channel") else end["reason"]
    output = process.output.decode("utf-8", "replace")
    if reason in ("cpu", "wall") or cpu > process.limits["cpu_seconds"] or _signal(status) == signal.SIGXCPU:
        return _outcome(TIME_OUT, _too_slow(process, "wall" if reason == "wall" else "cpu"), cpu, output)
    if reason == "memory":
        return _outcome(OUT_OF_MEMORY, f"more than {process.limits['memory_bytes']} bytes of memory", cpu, output)
    if reason == "output":
        return _outcome(RUNTIME_ERROR, f"more than {process.limits['output_bytes']} bytes of output", cpu)
    if reason == "processes":
        return _outcome(RUNTIME_ERROR, f"more than {process.limits['processes']} processes", cpu, output)
    if reason == "channel":
        return _outcome(RUNTIME_ERROR, "the program left or misused its channel", cpu)
    message = _last_line(process.errors)
    if status == 0:
        return _outcome(OK, "", cpu, output)
    if message.startswith(_NO_MEMORY):
        return _outcome(OUT_OF_MEMORY, message, cpu, output)
    if _signal(status):
        return _outcome(RUNTIME_ERROR, f"ended by {signal.Signals(_signal(status)).name}", cpu, output)
    message = message or f"ended with exit status {os.waitstatus_to_exitcode(status)}"
    return _outcome(RUNTIME_ERROR, message, cpu, output)


def _signal(status: int) -> int:
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def _too_slow(process: Process, kind: str) -> str:
    names = {"cpu": "CPU time", "wall": "wall time"}
    return f"more than {process.limits[f'{kind}_seconds']:g} s of {names[kind]}"


def _last_line(errors: bytearray) -> str:
    lines = errors.decode("utf-8", "replace").strip().splitlines()
    return lines[-1].strip() if lines else ""


_KINDS = {"script": ("inputs", _script), "function": ("arguments", _function), "checked": ("checks", _checked)}
