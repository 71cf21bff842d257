"""Qpid Proton, led by the tests: a command a line on standard input, an event a line on standard output, each written as a
URL's query. harness/ledpeer.go has the other side. It must be Debian's Python: Proton is built for that one."""

import base64
import os
import sys
import threading
import traceback
import uuid
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

from proton import Condition, Disposition, Handler, Link, Message, SSLDomain, int32, symbol, uint, ulong
from proton.reactor import ApplicationEvent, Container, EventInjector

STATES = {"accepted": Disposition.ACCEPTED, "rejected": Disposition.REJECTED, "released": Disposition.RELEASED, "modified": Disposition.MODIFIED}
NAMES = {state: name for name, state in STATES.items()}
VALUES = {"int": lambda v: int32(int(v)), "uint": lambda v: uint(int(v)), "long": int, "ulong": lambda v: ulong(int(v)), "string": str}


def encode(b):
    return base64.urlsafe_b64encode(b).decode().rstrip("=")


def decode(s):
    return base64.urlsafe_b64decode(s + "=" * (-len(s) % 4))


def emit(conn, event, **fields):
    sys.stdout.write(urlencode({"conn": conn, "event": event, **{k: v for k, v in fields.items() if v is not None}}) + "\n")
    sys.stdout.flush()


def reason(condition):
    if condition is None:
        return {}
    return {"condition": condition.name, "description": condition.description or ""}


class Guard:
    """Hands events on to a handler. What goes wrong with one ends its connection alone: the loop serves those of all tests."""

    def __init__(self, handler):
        self.handler = handler

    def __getattr__(self, name):
        attribute = getattr(self.handler, name)
        if not name.startswith("on_"):
            return attribute

        def guarded(*args):  # the event is the last
            try:
                attribute(*args)
            except Exception as e:
                traceback.print_exc()
                if conn := getattr(args[-1], "connection", None):
                    emit(conn.tests_name, "closed", condition="driver", description=repr(e))

        return guarded


class Driver(Handler):
    def __init__(self):
        self.conns = {}  # by the tests' names
        self.links = {}
        self.deliveries = {}
        self.next = 0

    def on_reactor_init(self, event):
        self.container = event.container

    # Commands.

    def on_command(self, event):
        q = dict(parse_qsl(event.subject, keep_blank_values=True))
        q["all"] = parse_qs(event.subject, keep_blank_values=True)
        try:
            getattr(self, "do_" + q["op"])(q)
        except Exception as e:
            traceback.print_exc()
            emit(q["conn"], "closed", condition="driver", description=repr(e))

    def do_connect(self, q):
        options = {}
        if q["ca"]:
            domain = SSLDomain(SSLDomain.MODE_CLIENT)
            domain.set_trusted_ca_db(q["ca"])
            domain.set_peer_authentication(SSLDomain.VERIFY_PEER)
            if q["cert"]:
                domain.set_credentials(q["cert"], q["key"], None)
            options["ssl_domain"] = domain
        if q["user"]:
            options.update(user=q["user"], password=q["password"])
        self.container.container_id = q["container"]
        conn = self.container.connect(q["url"], handler=Guard(self), reconnect=False, allowed_mechs=q["mechanism"],
                                      virtual_host="localhost", allow_insecure_mechs=True, **options)
        conn.tests_name = q["conn"]
        conn.session_ = conn.session()
        conn.session_.open()
        self.conns[q["conn"]] = conn

    def do_attach(self, q):
        session = self.conns[q["conn"]].session_
        name = q["name"] or str(uuid.uuid4())
        if q["role"] == "receiver":
            link = session.receiver(name)
            terminus = link.source
            link.target.address = name
        else:
            link = session.sender(name)
            terminus = link.target
        terminus.address = q.get("address")
        if "settled" in q:
            link.snd_settle_mode = Link.SND_SETTLED
        elif q["role"] == "sender":
            link.snd_settle_mode = Link.SND_UNSETTLED
        link.rcv_settle_mode = Link.RCV_SECOND if "second" in q else Link.RCV_FIRST
        filters = zip(*(q["all"].get(k, []) for k in ("filterName", "filterType", "filterValue")))
        filters = {symbol(n): VALUES[t](v) for n, t, v in filters}
        if filters:
            link.source.filter.put_dict(filters)
        link.tests_name = (q["conn"], q["link"])
        link.raw = "raw" in q
        self.links[q["conn"], q["link"]] = link
        link.open()

    def do_send(self, q):
        link = self.links[q["conn"], q["link"]]
        payload = decode(q["payload"])
        if not link.raw:
            message = Message()
            message.decode(payload)
            payload = message.encode()
        delivery = link.delivery(q["ref"])
        link.stream(payload)
        link.advance()
        if link.snd_settle_mode == Link.SND_SETTLED:
            delivery.settle()
        emit(q["conn"], "sent", link=q["link"], ref=q["ref"], payload=encode(payload))

    def do_flow(self, q):
        link = self.links[q["conn"], q["link"]]
        if "drain" in q:
            link.draining = True
            link.drain(int(q["credit"]))
        else:
            link.drain_mode = False
            link.flow(int(q["credit"]))

    def do_settle(self, q):
        delivery = self.deliveries.pop(q["ref"])
        if q["state"] == "modified":
            delivery.local.failed = "failed" in q
            delivery.local.undeliverable = "undeliverable" in q
        if q["condition"]:
            delivery.local.condition = Condition(q["condition"], q["description"])
        delivery.update(STATES[q["state"]])
        if delivery.link.rcv_settle_mode != Link.RCV_SECOND:
            delivery.settle()

    def do_detach(self, q):
        self.links[q["conn"], q["link"]].close()

    def do_drop(self, q):
        conn = self.conns[q["conn"]]
        if conn.transport:  # else it is gone already
            conn.transport.close_tail()
            conn.transport.close_head()

    def do_close(self, q):
        self.conns[q["conn"]].close()

    # Events.

    def on_connection_remote_open(self, event):
        emit(event.connection.tests_name, "opened")

    def on_connection_remote_close(self, event):
        emit(event.connection.tests_name, "closed", **reason(event.connection.remote_condition))
        event.connection.close()

    def on_transport_error(self, event):
        if event.connection:  # else its end has been told
            emit(event.connection.tests_name, "closed", **reason(event.transport.condition))

    def on_transport_closed(self, event):
        if event.connection:
            emit(event.connection.tests_name, "closed", condition="socket", description="closed")

    def on_link_remote_open(self, event):
        link = event.link
        if (link.remote_target if link.is_sender else link.remote_source).type:  # else a detach follows
            emit(link.tests_name[0], "attached", link=link.tests_name[1])

    def on_link_remote_close(self, event):
        link = event.link
        emit(link.tests_name[0], "detached", link=link.tests_name[1], **reason(link.remote_condition))
        link.close()

    on_link_remote_detach = on_link_remote_close

    def on_link_flow(self, event):
        link = event.link
        if link.is_receiver and getattr(link, "draining", False) and link.credit == 0:
            link.draining = False
            emit(link.tests_name[0], "drained", link=link.tests_name[1])

    def on_delivery(self, event):
        delivery, link = event.delivery, event.link
        conn, name = link.tests_name
        if link.is_sender:
            if delivery.updated and delivery.remote_state in NAMES:
                emit(conn, "outcome", link=name, ref=delivery.tag, state=NAMES[delivery.remote_state], **reason(delivery.remote.condition))
                delivery.settle()
            return
        if not delivery.readable or delivery.partial:
            if delivery.settled:
                delivery.settle()
            return
        payload = link.recv(delivery.pending)
        link.advance()
        self.next += 1
        ref = str(self.next)
        self.deliveries[ref] = delivery
        emit(conn, "message", link=name, ref=ref, payload=encode(payload), raw=1, tag=encode(delivery.tag.encode("utf-8", "surrogateescape")),
             settled=1 if delivery.settled else None)
        if delivery.settled:
            delivery.settle()
        self.on_link_flow(event)


def main():
    injector = EventInjector()

    def read():
        for line in sys.stdin:
            injector.trigger(ApplicationEvent("command", subject=line.strip()))
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    container = Container(Guard(Driver()))
    container.global_handler = Guard(container.global_handler)  # Proton's own
    container.selectable(injector)
    container.run()


main()
