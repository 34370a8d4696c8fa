"""A mail server by aiosmtpd that takes what it is sent, or does as it is told by lines of JSON. See smtp.rs.

Standard input: {"op": "answer", "with": "451 …" | "drop" | "hang", "count": N}, about the next N mails.
Standard output: {"listening": PORT}, {"ok": true} for an order, {"mail": {…}} before a mail is acknowledged, and
{"turned_away": HOW} for one that was not.
"""

import asyncio
import email
import email.policy
import json
import sys
import threading

from aiosmtpd.smtp import SMTP


def say(what):
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


class Sink:
    def __init__(self):
        self.answers = []

    def order(self, request):
        self.answers.extend([request["with"]] * request["count"])
        say({"ok": True})

    async def handle_DATA(self, server, _session, envelope):
        if self.answers:
            answer = self.answers.pop(0)
            say({"turned_away": answer})
            if answer == "hang":
                await asyncio.Event().wait()
            if answer == "drop":
                server.transport.abort()
                await asyncio.Event().wait()
            return answer
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        headers = {}
        for name, value in mail.items():
            headers.setdefault(name.lower(), []).append(str(value))
        say({"mail": {"from": envelope.mail_from, "to": envelope.rcpt_tos, "headers": headers,
                      "body": mail.get_content()}})
        return "250 taken"


async def main(port):
    loop = asyncio.get_running_loop()
    sink = Sink()
    server = await loop.create_server(lambda: SMTP(sink, hostname="sink.example.org"), "127.0.0.1", port)
    say({"listening": server.sockets[0].getsockname()[1]})
    over = asyncio.Event()

    def orders():
        for line in sys.stdin:
            loop.call_soon_threadsafe(sink.order, json.loads(line))
        loop.call_soon_threadsafe(over.set)

    threading.Thread(target=orders, daemon=True).start()
    await over.wait()


asyncio.run(main(int(sys.argv[1])))
