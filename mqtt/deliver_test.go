package mqtt_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/mqtt"
	"github.com/linkspan/linkspan/mqtt/mqtttest"
	"github.com/linkspan/linkspan/mqtt/packet"
	"github.com/linkspan/linkspan/session"
)

func filter(f string, qos byte) packet.Subscription { return packet.Subscription{Filter: f, QoS: qos} }

// ENM-A6 [MQTT-3.8.4-6], [MQTT-3.9.3-1]: one code for each filter, in their order.
func TestSubackPerFilter(t *testing.T) {
	b := start(t)
	c := b.join(packet.V5, "d1")
	got := c.Subscribe(1, filter("a", 0), filter("$share/g/a", 1), filter("b/#", 2), filter("+/c", 1))
	want := []packet.Reason{packet.GrantedQoS0, packet.SharedSubscriptionsNotSupported, packet.GrantedQoS2, packet.GrantedQoS1}
	if !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
	c.Send(&packet.Unsubscribe{PacketID: 2, Filters: []string{"a", "never"}})
	var ack packet.Unsuback
	c.Expect(packet.UNSUBACK, &ack)
	if ack.PacketID != 2 || !slices.Equal(ack.Reasons, []packet.Reason{packet.Success, packet.NoSubscriptionExisted}) {
		t.Errorf("got %+v", ack)
	}
	old := b.join(packet.V311, "d2")
	if got := old.Subscribe(1, filter("$share/g/a", 1), filter("a", 1)); !slices.Equal(got, []packet.Reason{0x80, 1}) {
		t.Errorf("MQTT 3.1.1 got %v", got)
	}
}

// [MQTT-4.3.1], [MQTT-4.3.2], [MQTT-4.3.3]: the three qualities of service, downwards.
func TestDeliver(t *testing.T) {
	everyVersion(t, func(t *testing.T, v packet.Version) {
		b := start(t)
		c := b.join(v, "d1")
		c.Subscribe(1, filter("a/#", 2))
		for qos := byte(0); qos <= 2; qos++ {
			b.send(linkspan.Message{Topic: "a/b", Payload: []byte{'0' + qos}, QoS: qos})
			var p packet.Publish
			c.Expect(packet.PUBLISH, &p)
			topic := p.Topic
			if topic == "" && p.Properties.TopicAlias == 1 {
				topic = "a/b"
			}
			if topic != "a/b" || string(p.Payload) != string('0'+rune(qos)) || p.QoS != qos || p.Retain || p.Dup {
				t.Errorf("got %+v", p)
			}
			switch qos {
			case 1:
				c.Send(&packet.Ack{Type: packet.PUBACK, PacketID: p.PacketID})
			case 2:
				c.Send(&packet.Ack{Type: packet.PUBREC, PacketID: p.PacketID})
				c.ExpectAck(packet.PUBREL, p.PacketID, packet.Success) // [MQTT-4.3.3-4]
				c.Send(&packet.Ack{Type: packet.PUBCOMP, PacketID: p.PacketID})
			}
		}
		c.Ping()
		if s := b.Stats(); s.Delivered[0].Load() != 1 || s.Delivered[1].Load() != 1 || s.Delivered[2].Load() != 1 {
			t.Error("not counted")
		}
	})
}

// Everything that MQTT 5 sends along arrives, in both directions [MQTT-3.3.2-4] to [MQTT-3.3.2-20].
func TestProperties(t *testing.T) {
	b := start(t)
	c := b.join(packet.V5, "d1")
	s := packet.Subscribe{PacketID: 1, Filters: []packet.Subscription{filter("t", 1)}}
	s.Properties.AddSubscriptionID(77)
	c.Send(&s)
	c.Expect(packet.SUBACK, nil)
	p := publish(1, 1, "t", "x")
	p.Properties.PayloadFormat, p.Properties.MessageExpiry = 1, 100
	p.Properties.ContentType, p.Properties.ResponseTopic = "text/plain", "answers"
	p.Properties.CorrelationData = []byte{1, 0, 2}
	p.Properties.Set(packet.PayloadFormat, packet.MessageExpiry, packet.ContentType, packet.ResponseTopic, packet.CorrelationData)
	p.Properties.AddUserProperty("k", "v1")
	p.Properties.AddUserProperty("k", "v2")
	b.sink.Onward = b.registry
	c.Send(p)
	var got packet.Publish
	for range 2 { // its own message comes back, and the ack
		r, err := c.Next()
		if err != nil {
			t.Fatal(err)
		}
		if r.Type() == packet.PUBLISH {
			if err := got.Decode(packet.V5, r); err != nil {
				t.Fatal(err)
			}
		}
	}
	a := got.Properties
	if a.PayloadFormat != 1 || a.MessageExpiry != 100 || a.ContentType != "text/plain" || a.ResponseTopic != "answers" || string(a.CorrelationData) != "\x01\x00\x02" {
		t.Errorf("properties %+v", a)
	}
	var all []string
	for k, v := range a.UserProperties() {
		all = append(all, k+"="+v)
	}
	for id := range a.SubscriptionIDs() {
		all = append(all, fmt.Sprint(id))
	}
	if strings.Join(all, " ") != "k=v1 k=v2 77" {
		t.Errorf("got %v", all)
	}
	m := b.sink.Wait(1)[0]
	if m.PayloadFormat != linkspan.PayloadUTF8 || m.Expires.Sub(m.Received) != 100*time.Second || len(m.UserProperties) != 2 {
		t.Errorf("message %+v", m)
	}
	bare := b.join(packet.V5, "d2")
	bare.Send(publish(0, 0, "u", ""))
	if m := b.sink.Wait(2)[1]; m.PayloadFormat != linkspan.PayloadFormatAbsent || m.CorrelationData != nil || !m.Expires.IsZero() || m.UserProperties != nil {
		t.Errorf("message %+v", m)
	}
}

// VXM-A6 [MQTT-3.3.2.3.4]: what comes up may use aliases, and what goes down does from the second delivery on.
func TestTopicAliases(t *testing.T) {
	b := start(t)
	up := b.join(packet.V5, "up")
	alias := func(topic string, n uint16) *packet.Publish {
		p := publish(0, 0, topic, "x")
		p.Properties.TopicAlias = n
		p.Properties.Set(packet.TopicAlias)
		return p
	}
	up.Send(alias("a", 1), alias("b", 32), alias("", 1), alias("", 32), alias("c", 1), alias("", 1))
	var topics []string
	for _, m := range b.sink.Wait(6) {
		topics = append(topics, m.Topic)
	}
	if strings.Join(topics, "") != "ababcc" {
		t.Errorf("topics %v", topics)
	}

	p := packet.Connect{ClientID: "down", CleanStart: true}
	p.Properties.TopicAliasMaximum = 2
	p.Properties.Set(packet.TopicAliasMaximum)
	down := b.dial(packet.V5)
	down.Connect(p)
	down.Subscribe(1, filter("#", 0))
	for _, want := range []string{"a=1", "=1", "b=2", "c=0", "=2", "=1", "c=0"} { // [MQTT-3.1.2-26], [MQTT-3.1.2-27]
		topic := map[string]string{"a=1": "a", "=1": "a", "b=2": "b", "=2": "b", "c=0": "c"}[want]
		b.send(linkspan.Message{Topic: topic})
		var m packet.Publish
		down.Expect(packet.PUBLISH, &m)
		if got := fmt.Sprintf("%s=%d", m.Topic, m.Properties.TopicAlias); got != want || m.Properties.Has(packet.TopicAlias) != (want != "c=0") {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// [MQTT-3.1.2-24], [MQTT-3.1.2-25]: what a device cannot take is left out and counted, and does not block what follows.
func TestMaximumPacketSizeOfDevice(t *testing.T) {
	b := start(t)
	p := packet.Connect{ClientID: "d1", CleanStart: true}
	p.Properties.MaximumPacketSize, p.Properties.ReceiveMaximum = 100, 1
	p.Properties.Set(packet.MaximumPacketSize, packet.ReceiveMaximum)
	c := b.dial(packet.V5)
	c.Connect(p)
	c.Subscribe(1, filter("#", 2))
	for qos := byte(0); qos <= 2; qos++ {
		b.send(linkspan.Message{Topic: "t", Payload: make([]byte, 100), QoS: qos})
	}
	b.send(linkspan.Message{Topic: "t", Payload: []byte("fits"), QoS: 1})
	var m packet.Publish
	c.Expect(packet.PUBLISH, &m)
	if string(m.Payload) != "fits" {
		t.Errorf("got %q", m.Payload)
	}
	if n := b.Stats().TooLarge.Load(); n != 3 {
		t.Errorf("%d too large", n)
	}
	c.Write(0x36, 6, 0, 1, 't', 0, 1, 0)
	c.ExpectDisconnect(packet.MalformedPacket)
}

// A message that is larger than the outgoing buffer goes alone, when what came before it is written.
func TestMessageLargerThanTheRoom(t *testing.T) {
	sink := newSink()
	sink.sessions = func(c *session.Config) { c.MaxQueuedBytes = 16 << 20 }
	b := startWith(t, sink, func(c *mqtt.ListenerConfig) { c.MaxOutgoing = 16 << 10 })
	c := b.join(packet.V5, "d1")
	c.Subscribe(1, filter("#", 1))
	const pairs = 100
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range pairs {
			b.send(linkspan.Message{Topic: "small", Payload: []byte("1"), QoS: 1})
			b.send(linkspan.Message{Topic: "large", Payload: make([]byte, 40<<10), QoS: 1})
		}
	}()
	for range pairs {
		for _, want := range []string{"small", "large"} {
			var m packet.Publish
			c.Expect(packet.PUBLISH, &m)
			if m.Topic != want {
				t.Fatalf("got %s, want %s", m.Topic, want)
			}
			c.Send(&packet.Ack{Type: packet.PUBACK, PacketID: m.PacketID})
		}
	}
	<-done
}

// P6: a device that does not read costs bounded memory, and others nothing; when it reads again it gets all of it.
func TestSlowReader(t *testing.T) {
	sink := newSink()
	sink.sessions = func(c *session.Config) { c.MaxQueuedBytes = 16 << 20 }
	b := startWith(t, sink, func(c *mqtt.ListenerConfig) { c.MaxOutgoing = 16 << 10 })
	slow, fast := b.join(packet.V5, "slow"), b.join(packet.V5, "fast")
	slow.Subscribe(1, filter("t", 1))
	fast.Subscribe(1, filter("t", 1))
	const n = 900
	payload := make([]byte, 8<<10)
	done := make(chan struct{})
	go func() {
		defer close(done)
		receive(t, fast, n)
	}()
	for i := range n {
		copy(payload, fmt.Sprintf("%06d", i))
		b.send(linkspan.Message{Topic: "t", Payload: payload, QoS: 1})
	}
	<-done
	receive(t, slow, n)
}

// receive acknowledges n QoS 1 messages, numbered from 0 on.
func receive(t *testing.T, c *mqtttest.Client, n int) {
	for i := range n {
		r, err := c.Next()
		if err != nil {
			t.Errorf("message %d: %v", i, err)
			return
		}
		var m packet.Publish
		if err := m.Decode(c.Version, r); err != nil || string(m.Payload[:6]) != fmt.Sprintf("%06d", i) {
			t.Errorf("message %d: %v, %.6s", i, err, m.Payload)
			return
		}
		ack := packet.Ack{Type: packet.PUBACK, PacketID: m.PacketID}
		if _, err := c.Conn.Write(ack.Append(nil, c.Version)); err != nil {
			t.Error(err)
			return
		}
	}
}

// [MQTT-3.1.2-8], [MQTT-3.14.4-3]: the will is for those who do not say goodbye.
func TestWill(t *testing.T) {
	everyVersion(t, func(t *testing.T, v packet.Version) {
		b := start(t)
		will := packet.Connect{ClientID: "d1", CleanStart: true,
			Will: &packet.Will{Topic: "gone", Payload: []byte("d1"), QoS: 1, Retain: true}}
		c := b.dial(v)
		c.Connect(will)
		c.Send(&packet.Disconnect{})
		c.ExpectClosed()
		mqtttest.Until(t, "the session has ended", func() bool { return b.Stats().Open.Load() == 0 })
		if n := b.sink.Count(); n != 0 {
			t.Fatalf("%d wills after DISCONNECT", n)
		}
		c = b.dial(v)
		c.Connect(will)
		_ = c.Conn.Close()
		m := b.sink.Wait(1)[0]
		if m.Topic != "gone" || string(m.Payload) != "d1" || m.QoS != 1 || !m.Retain || m.Client != "d1" || m.Endpoint != "test" {
			t.Errorf("will %+v", m)
		}
		if v == packet.V5 {
			c = b.dial(v)
			c.Connect(will)
			c.Send(&packet.Disconnect{Reason: packet.DisconnectWithWill})
			b.sink.Wait(2)
		}
	})
}
