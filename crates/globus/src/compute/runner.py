def beamrail_job(spec):
    """Starts a program with a job folder, waits for its end, and tells how it ended. Standard library only.

    spec: program, args (list), job_dir, env (dict), attempt, report (a file to bring along, optional), walltime,
    grace and poll (seconds), tail (characters), limit (bytes of an answer that goes inline).

    The folder decides: whoever locks launch.lock in it runs the job. A second call for the same attempt, however it
    came about, waits for the first and tells the same. A file `cancel` in the folder asks the program to end; after
    the grace its whole process group is ended. Returns plain JSON types only.
    """
    import errno
    import fcntl
    import json
    import os
    import platform
    import signal
    import subprocess
    import sys
    import time

    begun = time.time()

    def raw(text):
        # Whatever the locale of the worker says, arguments are UTF-8.
        return text.encode("utf-8", "surrogateescape")

    folder = spec["job_dir"]
    attempt = int(spec.get("attempt", 1))
    grace = float(spec.get("grace", 20))
    poll = float(spec.get("poll", 1))
    limit = int(spec.get("limit", 200000))
    walltime = spec.get("walltime")

    def path(name):
        return raw(folder + "/" + name)

    def read(name, most=None):
        try:
            with open(path(name), "rb") as file:
                if most is not None:
                    file.seek(0, os.SEEK_END)
                    file.seek(max(0, file.tell() - most))
                return file.read().decode("utf-8", "replace")
        except OSError:
            return None

    def read_json(name):
        try:
            return json.loads(read(name) or "null")
        except ValueError:
            return None

    def write(name, value):
        with open(path(name + ".new"), "wb") as file:
            file.write(json.dumps(value).encode("utf-8"))
            file.flush()
            os.fsync(file.fileno())
        os.replace(path(name + ".new"), path(name))

    def ticks(pid):
        try:
            with open("/proc/%d/stat" % pid) as file:
                return int(file.read().rsplit(")", 1)[1].split()[19])
        except (OSError, ValueError, IndexError):
            return None

    def boot():
        try:
            with open("/proc/sys/kernel/random/boot_id") as file:
                return file.read().strip()
        except OSError:
            return ""

    def answer(rc, how):
        tail = int(spec.get("tail", 8192))
        told = {
            "rc": rc,
            "how": how,
            "stdout": (read("output", 4 * tail) or "")[-tail:],
            "stderr": (read("errors", 4 * tail) or "")[-tail:],
            "log": (read("log", 4 * tail) or "")[-tail:],
            "status": read_json("status.json"),
            "host": platform.node(),
            "python": platform.python_version(),
            "seconds": round(time.time() - begun, 3),
        }
        if spec.get("report"):
            try:
                with open(raw(spec["report"]), "rb") as file:
                    told["report"] = file.read().decode("utf-8", "replace")
            except OSError as error:
                told["report_error"] = str(error)
        if len(json.dumps(told)) > limit:
            # Too large for an answer: it stays in the folder, and the answer says where.
            write("answer.json", told)
            report = told.pop("report", None)
            for key in ("stdout", "stderr", "log"):
                told[key] = told[key][-1024:]
            told["file"] = folder + "/answer.json"
            told["report_bytes"] = None if report is None else len(report.encode("utf-8"))
        return told

    old_mask = os.umask(0o002)
    try:
        os.makedirs(raw(folder), mode=0o2775, exist_ok=True)
        lock = open(path("launch.lock"), "ab")
        adopted = False
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if error.errno not in (errno.EWOULDBLOCK, errno.EACCES, errno.EAGAIN):
                    # A file system without locks: launch.json has to do.
                    break
                adopted = True
                time.sleep(poll)
        launched = read_json("launch.json")
        known = isinstance(launched, dict) and int(launched.get("attempt", 0)) >= attempt
        if known and (launched.get("pid") or read("status.json") is not None):
            status = read_json("status.json")
            rc = status.get("exit_code") if isinstance(status, dict) else None
            return answer(rc, "adopted" if adopted else "ended before")
        for stale in ("status.json", "answer.json"):
            try:
                os.remove(path(stale))
            except OSError:
                pass
        # A cancellation may have come before the job; one of an earlier attempt is not for this one.
        cancel = read_json("cancel")
        cancelled_for = cancel.get("attempt") if isinstance(cancel, dict) else None
        if os.path.exists(path("cancel")) and (attempt == 1 or cancelled_for == attempt):
            write("launch.json", {"job_dir": folder, "attempt": attempt, "host": platform.node(), "pid": None,
                                  "start_ticks": None, "boot": boot()})
            return answer(130, "cancelled before it began")
        try:
            os.remove(path("cancel"))
        except OSError:
            pass
        handle = {"job_dir": folder, "attempt": attempt, "host": platform.node(), "pid": None,
                  "start_ticks": None, "boot": boot()}
        write("launch.json", handle)
        env = dict(os.environb)
        for key, value in (spec.get("env") or {}).items():
            env[raw(key)] = raw(value)
        argv = [raw(spec["program"])] + [raw(one) for one in spec.get("args", [])]
        out, err = open(path("output"), "ab"), open(path("errors"), "ab")
        try:
            # The lock goes along as standard input: it is held as long as the job's processes live.
            child = subprocess.Popen(argv, stdin=lock, stdout=out, stderr=err, env=env, start_new_session=True)
        except OSError as error:
            return answer(127, "does not start: %s" % error)
        finally:
            out.close()
            err.close()
            lock.close()
        group = child.pid

        def end(number):
            try:
                os.killpg(group, number)
            except OSError:
                pass

        handle.update(pid=child.pid, start_ticks=ticks(child.pid))
        write("launch.json", handle)
        how, asked = "ended", None
        try:
            while child.poll() is None:
                now = time.time()
                if asked is None:
                    if os.path.exists(path("cancel")):
                        how, asked = "cancelled", now
                    elif walltime is not None and now - begun > float(walltime):
                        how, asked = "walltime", now
                        open(path("cancel"), "ab").close()
                elif now - asked > grace + 10:
                    end(signal.SIGKILL)
                elif now - asked > grace:
                    end(signal.SIGTERM)
                time.sleep(min(poll, 0.05) if now - begun < 1 else poll)
        finally:
            # Also if the worker is being stopped, and for whatever the program left behind.
            if child.poll() is None:
                end(signal.SIGTERM)
                try:
                    child.wait(10)
                except subprocess.TimeoutExpired:
                    pass
            end(signal.SIGKILL)
        rc = child.wait()
        sys.stdout.flush()
        return answer(rc, how)
    finally:
        os.umask(old_mask)
