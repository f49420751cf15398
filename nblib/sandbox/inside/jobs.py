"""A job's outcomes from its processes: one function for each kind of job. Starts nothing by itself."""

import os
import signal

from nblib.sandbox.inside.processes import BrokenError, Process, Supply

OK, FAILED, RUNTIME_ERROR = "ok", "failed", "runtime_error"
COMPILE_ERROR, TIME_OUT, OUT_OF_MEMORY = "compile_error", "time_out", "out_of_memory"
_MESSAGE = 500


def run(supply: Supply, job: dict, limits: dict) -> list[dict]:
    """The outcomes in the job's order."""
    return _KINDS[job["kind"]](supply, job, limits)


def _outcome(status: str, message: str = "", cpu: float = 0.0, output: str | None = None) -> dict:
    return {"status": status, "output": output, "message": message[:_MESSAGE], "cpu_seconds": cpu}


# --- script ---------------------------------------------------------------------------------------------------------


def _script(supply: Supply, job: dict, limits: dict) -> list[dict]:
    outcomes: list[dict] = []
    for text in job["inputs"]:
        process = supply.start("program", limits, text=text)
        supply.tell(process, {"mode": "script", "code": job["code"]})
        failure = _not_compiled(supply, process)
        if failure is not None and failure["status"] == COMPILE_ERROR:
            supply.release()
            return [failure] * len(job["inputs"])
        outcomes.append(failure or _with_output(process, supply.finish(process)))
        supply.release()
    return outcomes


def _not_compiled(supply: Supply, process: Process) -> dict | None:
    message = supply.hear(process)
    if message is None:
        end = _ended(process, supply.finish(process))
        return end if end["status"] in (TIME_OUT, OUT_OF_MEMORY) else end | {"status": COMPILE_ERROR}
    if "broken" in message:
        raise BrokenError(message["broken"])
    return _outcome(COMPILE_ERROR, message["compile_error"]) if "compile_error" in message else None


# --- function -------------------------------------------------------------------------------------------------------


def _function(supply: Supply, job: dict, limits: dict) -> list[dict]:
    outcomes: list[dict] = []
    calls = job["arguments"]
    while len(outcomes) < len(calls):
        process = supply.start("program", limits, outcomes=len(calls) - len(outcomes) + 1)
        supply.tell(process, {"mode": "function", "code": job["code"], "name": job["name"]})
        failure = _not_ready(supply, process)
        if failure is not None:
            outcomes += [failure] * (len(calls) - len(outcomes))
        while len(outcomes) < len(calls) and process.end is None:
            supply.renew(process)
            outcomes.append(_call(supply, process, calls[len(outcomes)]))
        supply.release()
    return outcomes


def _not_ready(supply: Supply, process: Process) -> dict | None:
    """What went wrong while the code was compiled and run, if anything."""
    failure = _not_compiled(supply, process)
    if failure is not None:
        return failure
    if supply.hear(process) == {"ready": True}:
        return None
    end = _ended(process, supply.expect_end(process))
    return _outcome(RUNTIME_ERROR, "the program ended before it was asked") if end["status"] == OK else end


def _call(supply: Supply, process: Process, arguments: str) -> dict:
    supply.tell(process, {"arguments": arguments})
    reply = supply.hear(process)
    if not isinstance(reply, dict):
        end = _ended(process, supply.expect_end(process))
        return (
            end
            if end["status"] != OK
            else _outcome(RUNTIME_ERROR, "the program ended during the call", end["cpu_seconds"])
        )
    cpu = supply.renew(process)
    if cpu > process.limits["cpu_seconds"]:
        return _outcome(TIME_OUT, _too_slow(process, "cpu"), cpu)
    if isinstance(reply.get("value"), str):
        return _outcome(OK, cpu=cpu, output=reply["value"])
    if "none" in reply:
        return _outcome(OK, str(reply["none"]), cpu)
    return _outcome(OUT_OF_MEMORY if reply.get("memory") is True else RUNTIME_ERROR, str(reply.get("error")), cpu)


# --- checks ---------------------------------------------------------------------------------------------------------


def _checked(supply: Supply, job: dict, limits: dict) -> list[dict]:
    outcomes: list[dict] = []
    checks = job["checks"]
    alone: dict[int, str] = {}  # checks that run in the program's process, by number, and why
    while len(outcomes) < len(checks):
        left = len(checks) - len(outcomes)
        process = supply.start("program", limits, outcomes=left + 1)
        supply.tell(process, {"mode": "checked", "code": job["code"], "setup": job["setup"]})
        failure = _not_ready(supply, process)
        if failure is None:
            judge, failure = _judge(supply, process, job, left)
        if failure is not None:
            outcomes += [failure] * left
        while len(outcomes) < len(checks) and failure is None and process.end is None and judge.end is None:
            number = len(outcomes)
            outcome = _check(supply, process, judge, checks[number], alone.get(number))
            if outcome is None:  # it needs a fresh process, in which it then runs
                alone[number] = judge.inbox.popleft()["message"]
                break
            outcomes.append(outcome)
            if number in alone:  # what a check patches is not left to the next one
                break
        supply.release()
    return outcomes


def _judge(supply: Supply, process: Process, job: dict, left: int) -> tuple[Process, dict | None]:
    with supply.hand_over(process) as channel:
        limits = process.limits | {"processes": process.limits["processes"] + 4}
        judge = supply.start("judge", limits, outcomes=left + 1, peer=channel)
    supply.tell(judge, {"setup": job["setup"], "name": job["name"]})
    message = supply.hear(judge)
    if message == {"ready": True}:
        return judge, None
    if message is None:
        end = _ended(judge, supply.finish(judge))
        return judge, end | {"status": RUNTIME_ERROR if end["status"] == OK else end["status"]}
    if "broken" in message:
        raise BrokenError(message["broken"])
    return judge, _outcome(RUNTIME_ERROR, f"the setup failed: {message['setup_error']}")


def _check(supply: Supply, process: Process, judge: Process, text: str, alone: str | None) -> dict | None:
    """One check's outcome; None, with the verdict put back, where it has to run in the program's process."""
    supply.renew(process)
    supply.renew(judge)
    supply.tell(judge, {"check": text, "inside": alone is not None})
    reply = supply.hear(judge)
    if reply is None:
        end = _ended(judge, supply.finish(judge))
        return end | {"status": FAILED if end["status"] == OK else end["status"]}
    if reply["verdict"] == "ended":
        return _ended_in_check(supply, process)
    cpu = supply.renew(process)
    if cpu > process.limits["cpu_seconds"]:
        return _outcome(TIME_OUT, _too_slow(process, "cpu"), cpu)
    if reply["verdict"] == "inside":
        judge.inbox.append(reply)
        return None
    status = {"ok": OK, "failed": FAILED, "raised": RUNTIME_ERROR}[reply["verdict"]]
    if status == RUNTIME_ERROR and reply["message"].startswith("MemoryError"):
        status = OUT_OF_MEMORY
    return _outcome(status, "; ".join(filter(None, (reply["message"], alone))), cpu)


def _ended_in_check(supply: Supply, process: Process) -> dict:
    end = _ended(process, supply.expect_end(process))
    if end["status"] == OK:
        return _outcome(RUNTIME_ERROR, "the program ended before the check did", end["cpu_seconds"])
    return end


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
    if message.startswith(
        (
            "MemoryError",
            "numpy.core._exceptions._ArrayMemoryError",
            "terminate called after throwing an instance of 'std::bad_alloc'",
        )
    ):
        return _outcome(OUT_OF_MEMORY, message, cpu, output)
    if _signal(status):
        return _outcome(RUNTIME_ERROR, f"ended by {signal.Signals(_signal(status)).name}", cpu, output)
    return _outcome(
        RUNTIME_ERROR, message or f"ended with exit status {os.waitstatus_to_exitcode(status)}", cpu, output
    )


def _signal(status: int) -> int:
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def _too_slow(process: Process, kind: str) -> str:
    names = {"cpu": "CPU time", "wall": "wall time"}
    return f"more than {process.limits[f'{kind}_seconds']:g} s of {names[kind]}"


def _last_line(errors: bytearray) -> str:
    lines = errors.decode("utf-8", "replace").strip().splitlines()
    return lines[-1].strip() if lines else ""


_KINDS = {"script": _script, "function": _function, "checked": _checked}
