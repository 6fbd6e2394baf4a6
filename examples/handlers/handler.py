"""A handler of ct2fluent in Python: a line of JSON in, a line of JSON out.

It notes each version of a customer once in the file that LOYALTY_FILE names.
"""

import json
import os
import sys

path = os.environ.get("LOYALTY_FILE", os.devnull)
done = {}  # the newest version noted of each customer


def load():
    """What was noted before: a process may be killed and started again."""
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            for line in file:
                resource, version = line.split()
                done[resource] = int(version)


def work(n):
    """What becomes of a notification. Keys that are not known are left alone."""
    if n["typeId"] != "customer":
        return {"outcome": "skip", "reason": "no-customer"}
    if n["version"] <= done.get(n["resource"], 0):
        return {"outcome": "unchanged"}  # also when it comes again
    with open(path, "a", encoding="utf-8") as file:
        print(n["resource"], n["version"], file=file)
    done[n["resource"]] = n["version"]
    return {"outcome": "written"}


load()
for line in sys.stdin.buffer:
    notification = json.loads(line)
    try:
        answer = work(notification)
    except OSError as error:  # the file, not the notification
        answer = {"outcome": "unavailable", "why": error.strerror}
    except Exception as error:  # the name alone: its text may hold personal data
        answer = {"outcome": "retry", "why": type(error).__name__}
    print(json.dumps({"seq": notification["seq"], **answer}), flush=True)
