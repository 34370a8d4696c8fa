"""Devices by Eclipse Paho, ordered about by lines of JSON on standard input. See driver.rs for the language."""

import json
import socket
import ssl
import struct
import sys
import threading

import paho.mqtt.client as mqtt
from paho.mqtt.properties import Properties
from paho.mqtt.packettypes import PacketTypes

OUT = threading.Lock()
CLIENTS = {}


def say(what):
    line = json.dumps(what)
    with OUT:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def number(reason):
    return reason.value if hasattr(reason, "value") else int(reason)


class Client:
    """One connection at a time; connecting again makes a new one."""

    def __init__(self, name):
        self.name = name
        self.client = None
        self.lock = threading.Lock()
        self.waiting = {}
        self.early = {}

    def connect(self, request):
        client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2,
            client_id=request.get("client_id") or self.name,
            protocol=mqtt.MQTTv5 if request["version"] == 5 else mqtt.MQTTv311,
            reconnect_on_failure=False,
            manual_ack=bool(request.get("manual_ack")),
            transport="websockets" if request.get("websocket") else "tcp",
        )
        if request["user"] is not None:
            client.username_pw_set(request["user"], request["password"])
        if request["will"]:
            will = request["will"]
            client.will_set(will["topic"], will["payload"], will["qos"])
        if request["ca"]:
            client.tls_set(ca_certs=request["ca"], certfile=request["cert"], keyfile=request["key"])
        state = {"id": request["id"], "connected": False}

        def on_connect(_client, _userdata, _flags, reason, _properties):
            code = number(reason)
            if request["version"] != 5:
                # Paho shows the codes of 3.1.1 in the words of 5; devices see these.
                code = {0x84: 1, 0x85: 2, 0x88: 3, 0x86: 4, 0x87: 5}.get(code, code)
            state["connected"] = code == 0
            if state["id"] is not None:
                say({"id": state["id"], "ok": True, "code": code})
                state["id"] = None

        def on_disconnect(_client, _userdata, flags, reason, _properties):
            if state["id"] is not None:
                say({"id": state["id"], "ok": False, "why": str(reason)})
                state["id"] = None
            if state["connected"]:
                code = number(reason) if flags.is_disconnect_packet_from_server else None
                say({"client": self.name, "event": "ended", "code": code})
            with self.lock:
                lost, self.waiting = self.waiting, {}
            for waiter in lost.values():
                say({"id": waiter, "ok": False, "why": "the connection ended"})

        def on_connect_fail(_client, _userdata):
            if state["id"] is not None:
                say({"id": state["id"], "ok": False, "why": "no connection"})
                state["id"] = None

        def on_message(_client, _userdata, message):
            payload = message.payload.decode("utf-8", "replace")
            say({"client": self.name, "event": "message", "topic": message.topic, "payload": payload,
                 "qos": message.qos, "mid": message.mid})

        client.on_connect = on_connect
        client.on_disconnect = on_disconnect
        client.on_connect_fail = on_connect_fail
        client.on_message = on_message
        client.on_publish = lambda _c, _u, mid, reason, _p: self.done(("publish", mid), number(reason))
        client.on_subscribe = lambda _c, _u, mid, reasons, _p: self.done(("subscribe", mid), number(reasons[0]))
        client.on_unsubscribe = lambda _c, _u, mid, _r, _p: self.done(("unsubscribe", mid), 0)
        self.client = client
        more = {}
        if request["version"] == 5:
            more = {"clean_start": True, "properties": Properties(PacketTypes.CONNECT)}
        try:
            client.connect(request["host"], request["port"], request["keepalive"], **more)
        except (OSError, ssl.SSLError) as error:
            say({"id": request["id"], "ok": False, "why": repr(error)})
            return
        client.loop_start()

    def done(self, key, code):
        """An acknowledgement may come before the call that it belongs to has returned."""
        with self.lock:
            waiter = self.waiting.pop(key, None)
            if waiter is None:
                self.early[key] = code
                return
        say({"id": waiter, "ok": True, "code": code})

    def wait(self, key, request):
        with self.lock:
            code = self.early.pop(key, None)
            if code is None:
                self.waiting[key] = request
                return
        say({"id": request, "ok": True, "code": code})

    def begun(self, kind, result, mid, request):
        if result != mqtt.MQTT_ERR_SUCCESS:
            say({"id": request["id"], "ok": False, "why": mqtt.error_string(result)})
        else:
            self.wait((kind, mid), request["id"])

    def publish(self, request):
        info = self.client.publish(request["topic"], request["payload"].encode(), request["qos"])
        self.begun("publish", info.rc, info.mid, request)

    def subscribe(self, request):
        result, mid = self.client.subscribe(request["filter"], request["qos"])
        self.begun("subscribe", result, mid, request)

    def unsubscribe(self, request):
        result, mid = self.client.unsubscribe(request["filter"])
        self.begun("unsubscribe", result, mid, request)

    def ack(self, request):
        self.client.ack(request["mid"], request["qos"])
        say({"id": request["id"], "ok": True})

    def disconnect(self, request):
        self.client.disconnect()
        say({"id": request["id"], "ok": True})

    def cut(self, request):
        """Closing with a linger of zero is a reset."""
        held = self.client.socket()
        if held is not None:
            # Of a WebSocket, what it is made of.
            held = getattr(held, "_socket", held)
            held.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.client._thread_terminate = True
            held.close()
        say({"id": request["id"], "ok": True})

    def hang(self, request):
        """The loop's thread is told to end; the socket stays open."""
        self.client._thread_terminate = True
        self.client._sockpairW.send(b"\0")
        if self.client._thread is not None:
            self.client._thread.join(5)
        say({"id": request["id"], "ok": True})


def main():
    for line in sys.stdin:
        request = json.loads(line)
        if request["op"] == "hello":
            say({"id": request["id"], "ok": True})
            continue
        client = CLIENTS.setdefault(request["client"], Client(request["client"]))
        try:
            getattr(client, request["op"])(request)
        except Exception as error:  # whatever it is, the test is to see it
            say({"id": request["id"], "ok": False, "why": repr(error)})


main()
