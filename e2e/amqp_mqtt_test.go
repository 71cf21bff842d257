package e2e

import (
	"fmt"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/linkspan/linkspan/e2e/harness"
)

// ENM-A1: what an MQTT device publishes reaches AMQP receivers on the same address, and Kafka, with its QoS, its retain flag and its
// properties.
func TestAMQP_FromMQTT_ENM_A1(t *testing.T) {
	t.Parallel()
	q := sharedQuay(t)
	device := dial(t, made("paho-go-5"), harness.Options{URL: q.url(byMQTT), Client: "enm-up", Version: 5})
	records := open(t, world.kafka, q.live)
	eachPeer(t, func(t *testing.T, m harness.PeerMake) {
		at := fmt.Sprintf("live/from-mqtt-%d", topics.Add(1))
		p := q.meet(t, m)
		exact, filter := receiver(t, p, at+"/1", 100), receiver(t, p, at+"/+", 100)
		for qos := range byte(3) {
			for _, retain := range []bool{false, true} {
				body := fmt.Sprint(at, " QoS ", qos, " retain ", retain)
				sent := harness.Message{Topic: at + "/1", Payload: []byte(body), QoS: qos, Retain: retain, ContentType: "text/plain", ResponseTopic: "live/answers",
					Correlation: []byte{0, 255}, User: []harness.Pair{{Key: "unit", Value: "°C"}}}
				publish(t, device, sent)
				for _, r := range []harness.Link{exact, filter} {
					d := came(t, r)
					if got := text(t, d.Payload); got != body {
						t.Fatalf("got %q, want %q", got, body)
					}
					check := func(what, got, want string) {
						t.Helper()
						if got != want {
							t.Errorf("%s: %s is %s, want %s", body, what, got, want)
						}
					}
					check("x-opt-mqtt-qos", annotation(t, d.Payload, "x-opt-mqtt-qos"), fmt.Sprint("int ", qos))
					check("x-opt-retain-message", annotation(t, d.Payload, "x-opt-retain-message"), fmt.Sprint("boolean ", retain))
					durable := "boolean true"
					if qos == 0 {
						durable = ""
					}
					check("durable", entries(sections(t, d.Payload, harness.HeaderSection))["0"], durable)
					properties := entries(sections(t, d.Payload, harness.PropertySection))
					check("to", properties["2"], fmt.Sprintf("string %q", sent.Topic))
					check("reply-to", properties["4"], `string "live/answers"`)
					check("correlation-id", properties["5"], "binary 00ff")
					check("content-type", properties["6"], `symbol "text/plain"`)
					check("unit", entries(sections(t, d.Payload, harness.ApplicationSection))[`string "unit"`], `string "°C"`)
					settle(t, r, d, harness.Accepted)
				}
				records.wait(t, withValue(body))
			}
		}
	})
}

// ENM-A1: what an AMQP client sends reaches MQTT subscribers of the same address, with QoS and retain as its annotations say; without them
// durable means QoS 1.
func TestAMQP_ToMQTT_ENM_A1(t *testing.T) {
	t.Parallel()
	q := sharedQuay(t)
	device := dial(t, made("paho-go-5"), harness.Options{URL: q.url(byMQTT), Client: "enm-down", Version: 5})
	all := fmt.Sprintf("live/to-mqtt-%d/", topics.Add(1))
	subscribe(t, device, harness.Subscription{Filter: all + "#", QoS: 2, RetainAsPublished: true})
	late := dial(t, made("paho-go-5"), harness.Options{URL: q.url(byMQTT), Client: "enm-late", Version: 5})
	eachPeer(t, func(t *testing.T, m harness.PeerMake) {
		at := all + m.Name
		s := sender(t, q.meet(t, m), at)
		body := harness.Section{Code: harness.DataSection, Raw: harness.Binary("body")}
		properties := harness.Section{Code: harness.PropertySection, Raw: harness.List(harness.Null, harness.Null, harness.Null, harness.Null,
			harness.String("live/answers"), harness.String("request 7"), harness.Symbol("text/plain"))}
		user := harness.Section{Code: harness.ApplicationSection, Raw: harness.Map(harness.String("unit"), harness.String("°C"))}
		for i, test := range []struct {
			sections []harness.Section
			qos      byte
			retain   bool
		}{
			{[]harness.Section{{Code: harness.AnnotationSection, Raw: harness.Map(harness.Symbol("x-opt-mqtt-qos"), harness.Int(2), harness.Symbol("x-opt-retain-message"), []byte{0x41})}}, 2, true},
			{[]harness.Section{{Code: harness.AnnotationSection, Raw: harness.Map(harness.Symbol("x-opt-mqtt-qos"), harness.Int(0))}}, 0, false},
			{[]harness.Section{{Code: harness.HeaderSection, Raw: harness.List([]byte{0x41})}}, 1, false},
			{[]harness.Section{{Code: harness.HeaderSection, Raw: harness.List([]byte{0x42})}}, 0, false},
		} {
			send(t, s, harness.Encode(append(test.sections, properties, user, body)...))
			got := next(t, device)
			if got.Topic != at || string(got.Payload) != "body" || got.QoS != test.qos || got.Retain != test.retain || got.ResponseTopic != "live/answers" ||
				string(got.Correlation) != "request 7" || got.ContentType != "text/plain" || !slices.Contains(got.User, harness.Pair{Key: "unit", Value: "°C"}) {
				t.Errorf("message %d: %+v", i, got)
			}
		}
		subscribe(t, late, harness.Subscription{Filter: at, QoS: 2})
		if got := next(t, late); got.Topic != at || !got.Retain || string(got.Payload) != "body" {
			t.Errorf("retained: %+v", got)
		}
	})
}

// ENM-A1: MQTT devices and AMQP senders on one address, receivers of either protocol on it: each gets all, those of each sender in order, and
// Kafka has them.
func TestAMQP_OneAddress_ENM_A1(t *testing.T) {
	t.Parallel()
	const n = 200
	q := sharedQuay(t)
	key := fmt.Sprintf("one-address-%d", topics.Add(1))
	at := "live/" + key
	subscriber := dial(t, made("paho-go-3"), harness.Options{URL: q.url(byMQTT), Client: "one-ear", Version: 4})
	subscribe(t, subscriber, harness.Subscription{Filter: at, QoS: 1})
	r := receiver(t, q.meet(t, peerMade("rhea")), at, 4*n)
	s := sender(t, q.meet(t, peerMade("go-amqp")), at)
	device := dial(t, made("paho-go-3"), harness.Options{URL: q.url(byMQTT), Client: "one-mouth", Version: 4})
	var heard, got, stored harness.Ledger
	all := []*harness.Ledger{&heard, &got, &stored}
	each := func(f func(l *harness.Ledger)) {
		for _, l := range all {
			f(l)
		}
	}
	together(t, func() error {
		for i := uint64(1); i <= n; i++ {
			each(func(l *harness.Ledger) { l.Sent("amqp", i) })
			receipt, err := s.Send(deadline(t), harness.Data(harness.Payload("amqp", i, 100)))
			if err != nil {
				return err
			}
			if o, err := receipt.Outcome(deadline(t)); err != nil || o.State != harness.Accepted {
				return fmt.Errorf("message %d: %+v, %w", i, o, err)
			}
			each(func(l *harness.Ledger) { l.Acked("amqp", i) })
		}
		return nil
	}, func() error {
		for i := uint64(1); i <= n; i++ {
			each(func(l *harness.Ledger) { l.Sent("mqtt", i) })
			if err := device.Publish(deadline(t), harness.Message{Topic: at, QoS: 1, Payload: harness.Payload("mqtt", i, 100)}); err != nil {
				return err
			}
			each(func(l *harness.Ledger) { l.Acked("mqtt", i) })
		}
		return nil
	}, func() error {
		for range 2 * n {
			m, err := subscriber.Next(deadline(t))
			if err != nil {
				return err
			}
			if err := arrives(&heard, m.Payload); err != nil {
				return err
			}
		}
		return nil
	}, func() error {
		for range 2 * n {
			d, err := r.Next(deadline(t))
			if err != nil {
				return err
			}
			body, err := harness.Body(d.Payload)
			if err == nil {
				err = arrives(&got, body)
			}
			if err != nil {
				return err
			}
			if err := r.Settle(deadline(t), d, harness.Outcome{State: harness.Accepted}); err != nil {
				return err
			}
		}
		return nil
	})
	must(t, harness.Read(deadline(t), world.kafka.Addrs(), func(r *kgo.Record) {
		if string(r.Key) == key {
			must(t, arrives(&stored, r.Value))
		}
	}, q.live))
	each(func(l *harness.Ledger) { exact(t, l, 2*n) })
}

// arrives notes a numbered payload.
func arrives(l *harness.Ledger, payload []byte) error {
	name, i, err := harness.ParsePayload(payload)
	if err == nil {
		l.Arrived(name, i, 0)
	}
	return err
}
