"""What schemathesis cannot know of the API from its description alone. See schemathesis.toml.

Nothing here makes a wrong answer right: requests are steered to where the description's promise applies, and each
steering says which rule it is about that no JSON Schema can tell.
"""

import json
import os
import re
import zlib
from datetime import datetime
from itertools import count

import schemathesis

NDJSON = "application/x-ndjson"
# Lines of an import: a bound of ours, for the sake of time.
MOST_LINES = 20
# What there is already: ids by "devices", "alarms", "commands", "subscriptions"; and of each list, by its operation's
# id, one of its "cursors".
MADE = json.loads(os.environ["STOKER_E2E_MADE"])
# What later requests need must stay.
REMOVALS = {"removeDevice", "removeSubscription"}

HOST = re.compile(r"^(https?://)[^/?#\\]+", re.IGNORECASE)
ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
CURSOR = re.compile(r"[A-Za-z0-9_-]{1,1024}")

numbers = count()


def operation_id(case):
    return case.operation.definition.raw["operationId"]


@schemathesis.hook
def before_load_schema(context, raw_schema):
    """The description calls NDJSON a text, having no word for its lines; what stands on each is known."""
    content = raw_schema["paths"]["/devices:import"]["post"]["requestBody"]["content"]
    content[NDJSON] = {
        "schema": {"type": "array", "maxItems": MOST_LINES, "items": {"$ref": "#/components/schemas/NewDevice"}},
        "example": [{"id": "boiler-1", "site": "north"}, {"id": "boiler-2", "site": "north"}],
    }


@schemathesis.serializer(NDJSON)
def ndjson(context, value):
    lines = value if isinstance(value, list) else [value]
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


@schemathesis.hook
def before_call(context, case, kwargs):
    name = operation_id(case)
    point_at_something(case, name)
    if isinstance(case.query, dict):
        steer_query(case.query, name)
    if name == "importDevices" and isinstance(case.body, list):
        for line in case.body:
            steer_device(line)
    elif name in ("createDevice", "changeDevice"):
        steer_device(case.body)
    elif name in ("createSubscription", "changeSubscription"):
        steer_subscription(case.body, name)
    elif name == "changeAttributes":
        steer_attributes(case.body)


def point_at_something(case, name):
    """Two of three ids are of something that is there, as few that are made up would be."""
    made = MADE.get(case.path.split("/")[1], [])
    id = case.path_parameters.get("id")
    if not isinstance(id, str) or not made:
        return
    if name in REMOVALS:
        if id in made:
            case.path_parameters["id"] = "not-this-one"
    elif case.meta.phase.name != "stateful":
        # Those of the stateful phase are known to be there, or to be gone.
        chance = zlib.crc32(id.encode())
        if chance % 3 and case.meta.generation.mode.is_positive:
            case.path_parameters["id"] = made[chance % len(made)]


def steer_query(query, name):
    # A cursor is only good for the list that gave it out.
    if name in MADE["cursors"] and isinstance(query.get("cursor"), str) and CURSOR.fullmatch(query["cursor"]):
        query["cursor"] = MADE["cursors"][name]
    # `from` is not later than `to`.
    start, end = moment(query.get("from")), moment(query.get("to"))
    if start is not None and end is not None and start > end:
        query["from"], query["to"] = query["to"], query["from"]
    # A minute each would leave time for nothing else.
    wait = query.get("wait_s")
    if isinstance(wait, int) and 1 < wait <= 60:
        query["wait_s"] = 1


def moment(value):
    """In milliseconds, if it is a time."""
    try:
        return int(value)
    except (TypeError, ValueError):
        pass
    try:
        return datetime.fromisoformat(value).timestamp() * 1000
    except (TypeError, ValueError, OverflowError):
        return None


def steer_device(device):
    if not isinstance(device, dict):
        return
    id, number = device.get("id"), next(numbers)
    if number % 4 and isinstance(id, str) and ID.fullmatch(id):
        # Three of four are new, where the same few values would be tried over and over.
        device["id"] = f"{id[:120]}{number:08x}"
    token = device.get("token")
    if isinstance(token, str) and 16 <= len(token) <= 256:
        # A token is unique on the platform, and one that is taken looks like any other that cannot be used.
        device["token"] = f"{token[:-8]}{number:08x}"
    if device.get("renew_token") is True and "token" in device:
        # Not together.
        del device["renew_token"]


def steer_subscription(subscription, name):
    deliver = subscription.get("deliver") if isinstance(subscription, dict) else None
    for channel in deliver if isinstance(deliver, list) else []:
        if not isinstance(channel, dict) or not isinstance(channel.get("url"), str):
            continue
        # Alarms are raised here, and no stranger is to be told of them.
        channel["url"] = HOST.sub(r"\g<1>127.0.0.1:1", channel["url"])
        # Left out, it is the one that the same URL had before, if it had one.
        if name == "changeSubscription" and channel.get("secret", None) is None:
            channel["secret"] = "0123456789abcdef"


def steer_attributes(change):
    """A key is counted in bytes."""
    for scope in change.values() if isinstance(change, dict) else []:
        if isinstance(scope, dict):
            for key in [key for key in scope if 128 < len(key.encode()) and len(key) <= 128]:
                del scope[key]


@schemathesis.check
def every_line_is_accounted_for(context, response, case):
    """An import answers 200 whatever its lines hold, and says which of them made no device."""
    if operation_id(case) != "importDevices" or response.status_code != 200 or not isinstance(case.body, list):
        return
    answer = response.json()
    failed = answer["failed"]
    assert answer["created"] + len(failed) == len(case.body), f"{len(case.body)} lines, but {answer}"
    if case.meta.generation.mode.is_positive:
        # Schemathesis may give one id twice.
        wrong = [line for line in failed if line["problem"]["type"] != "urn:stoker:problem:already_exists"]
        assert not wrong, f"lines as described were refused: {wrong}"
    elif len(case.body) <= MOST_LINES:
        assert failed, "lines that are not as described were taken"
