"""Eclipse Paho for Python, led by the tests: a command a line on standard input, an event a line on standard output, each
written as a URL's query. harness/driver.go has the other side."""

import base64
import ssl
import sys
import threading
import traceback
from urllib.parse import parse_qs, quote, urlparse

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

VERSIONS = {"3": mqtt.MQTTv31, "4": mqtt.MQTTv311, "5": mqtt.MQTTv5}
write = threading.Lock()
connections = {}


def encode(b):
    return base64.urlsafe_b64encode(b).decode().rstrip("=")


def decode(s):
    return base64.urlsafe_b64decode(s + "=" * (-len(s) % 4))


def emit(conn, event, *fields):
    pairs = [("conn", conn), ("event", event), *fields]
    with write:
        print("&".join(f"{k}={quote(str(v), safe='')}" for k, v in pairs), flush=True)


def properties(kind, get, getall):
    p = Properties(kind)
    if v := get("format"):
        p.PayloadFormatIndicator = int(v)
    if v := get("expiry"):
        p.MessageExpiryInterval = int(v)
    if v := get("contentType"):
        p.ContentType = v
    if v := get("responseTopic"):
        p.ResponseTopic = v
    if v := get("correlation"):
        p.CorrelationData = decode(v)
    if v := get("alias"):
        p.TopicAlias = int(v)
    for k, v in zip(getall("userKey"), getall("userValue")):
        p.UserProperty = (k, v)
    return p


def message_fields(m):
    yield "topic", m.topic
    yield "payload", encode(m.payload)
    yield "qos", m.qos
    yield "retain", int(m.retain)
    p = m.properties
    if p is None:
        return
    for field, name in (
        ("format", "PayloadFormatIndicator"),
        ("expiry", "MessageExpiryInterval"),
        ("contentType", "ContentType"),
        ("responseTopic", "ResponseTopic"),
    ):
        if hasattr(p, name):
            yield field, getattr(p, name)
    if hasattr(p, "CorrelationData"):
        yield "correlation", encode(p.CorrelationData)
    for k, v in getattr(p, "UserProperty", []):
        yield "userKey", k
        yield "userValue", v
    for i in getattr(p, "SubscriptionIdentifier", []):
        yield "subscriptionID", i


class Client(mqtt.Client):
    """Tells that it is closed when the loop ends that connects and serves it, whatever ended it: an exception of one ends no other."""

    tests_name = why = ""

    def loop_forever(self, *_, **__):
        try:
            return super().loop_forever(retry_first_connection=False)
        except Exception as e:
            traceback.print_exc()
            self.ends(repr(e))
        finally:
            emit(self.tests_name, "closed", ("reason", self.why))
            connections.pop(self.tests_name, None)  # with its three sockets: select knows a thousand

    def ends(self, why):
        self.why = why


class Connection:
    def __init__(self, name, get, getall):
        url = urlparse(get("url"))
        self.v5 = get("version") == "5"
        c = self.client = Client(
            mqtt.CallbackAPIVersion.VERSION2,
            client_id=get("client"),
            protocol=VERSIONS[get("version")],
            transport="websockets" if url.scheme.startswith("ws") else "tcp",
            reconnect_on_failure=False,
            **({} if self.v5 else {"clean_session": True}),
        )
        c.tests_name = name
        c.connect_timeout = 3600  # the tests' own patience ends earlier
        if url.scheme in ("mqtts", "wss"):
            c.tls_set(get("ca"), tls_version=ssl.PROTOCOL_TLS_CLIENT)
        if url.scheme.startswith("ws"):
            c.ws_set_options(path=url.path)
        if get("willTopic"):
            c.will_set(
                get("willTopic"),
                decode(get("payload")),
                int(get("qos")),
                get("retain") == "1",
                properties(PacketTypes.WILLMESSAGE, get, getall) if self.v5 else None,
            )
        c.on_connect = lambda c, u, f, reason, p: emit(name, "connected", ("reason", reason.value))
        c.on_disconnect = lambda c, u, f, reason, p: c.ends(reason)
        c.on_message = lambda c, u, m: emit(name, "message", *message_fields(m))
        c.on_publish = lambda c, u, mid, reason, p: emit(name, "published", ("reason", reason.value))
        c.on_subscribe = lambda c, u, mid, reasons, p: emit(name, "subscribed", ("reason", reasons[0].value))
        c.connect_async(url.hostname, url.port, keepalive=int(get("keepAlive") or 30))
        c.loop_start()

    def subscribe(self, get, getall):
        if not self.v5:
            self.client.subscribe(get("filter"), int(get("qos")))
            return
        options = SubscribeOptions(
            qos=int(get("qos")),
            noLocal=get("noLocal") == "1",
            retainAsPublished=get("retainAsPublished") == "1",
            retainHandling=int(get("retainHandling") or 0),
        )
        p = Properties(PacketTypes.SUBSCRIBE)
        if get("id"):
            p.SubscriptionIdentifier = int(get("id"))
        self.client.subscribe(get("filter"), options=options, properties=p)

    def publish(self, get, getall):
        self.client.publish(
            get("topic"),
            decode(get("payload")),
            int(get("qos")),
            get("retain") == "1",
            properties(PacketTypes.PUBLISH, get, getall) if self.v5 else None,
        )

    def disconnect(self, get, getall):
        self.client.disconnect()


def main():
    for line in sys.stdin:
        q = parse_qs(line.strip(), keep_blank_values=True)
        get, getall = (lambda k: q.get(k, [""])[0]), (lambda k: q.get(k, []))
        name = get("conn")
        try:
            if get("op") == "connect":
                connections[name] = Connection(name, get, getall)
            else:
                getattr(connections[name], get("op"))(get, getall)
        except Exception as e:
            emit(name, "error", ("reason", repr(e)))


main()
