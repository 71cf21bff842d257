package harness

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// patience is that of the libraries. The calls' own contexts end them earlier.
const patience = time.Hour

// DialPaho3 connects Eclipse Paho for Go, its library for MQTT 3.1 and 3.1.1.
func DialPaho3(ctx context.Context, o Options) (Device, error) {
	d := &paho3{queue: newQueue[Message]()}
	opts := mqtt.NewClientOptions().AddBroker(strings.Replace(strings.Replace(o.URL, "mqtts:", "ssl:", 1), "mqtt:", "tcp:", 1)).
		SetClientID(o.Client).SetProtocolVersion(uint(o.Version)).SetAutoReconnect(false).SetOrderMatters(true).
		SetConnectTimeout(patience).SetPingTimeout(patience)
	opts.SetConnectionLostHandler(func(_ mqtt.Client, err error) { d.queue.fail(err) })
	opts.SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) {
		d.queue.put(Message{Topic: m.Topic(), Payload: m.Payload(), QoS: m.Qos(), Retain: m.Retained()})
	})
	if o.Will != nil {
		opts.SetBinaryWill(o.Will.Topic, o.Will.Payload, o.Will.QoS, o.Will.Retain)
	}
	if o.CA != "" {
		config, err := (&Certs{CA: o.CA}).ClientTLS()
		if err != nil {
			return nil, err
		}
		opts.SetTLSConfig(config)
	}
	d.client = mqtt.NewClient(opts)
	if err := wait(ctx, d.client.Connect()); err != nil {
		d.client.Disconnect(0) // it would go on trying
		return nil, err
	}
	return d, nil
}

type paho3 struct {
	client mqtt.Client
	queue  *queue[Message]
}

func wait(ctx context.Context, t mqtt.Token) error {
	select {
	case <-t.Done():
		return t.Error()
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (d *paho3) Subscribe(ctx context.Context, s Subscription) error {
	t := d.client.Subscribe(s.Filter, s.QoS, nil)
	if err := wait(ctx, t); err != nil {
		return err
	}
	return checkGranted(s, fmt.Sprint(t.(*mqtt.SubscribeToken).Result()[s.Filter]))
}

func (d *paho3) Publish(ctx context.Context, m Message) error {
	return wait(ctx, d.client.Publish(m.Topic, m.QoS, m.Retain, m.Payload))
}

func (d *paho3) Next(ctx context.Context) (Message, error) { return d.queue.get(ctx) }

func (d *paho3) Close() error {
	d.client.Disconnect(100)
	return nil
}

// DialPaho5 connects Eclipse Paho for Go, its library for MQTT 5.
func DialPaho5(ctx context.Context, o Options) (Device, error) {
	u, err := url.Parse(o.URL)
	if err != nil {
		return nil, err
	}
	var dialer interface {
		DialContext(ctx context.Context, network, addr string) (net.Conn, error)
	} = &net.Dialer{}
	if u.Scheme == "mqtts" {
		config, err := (&Certs{CA: o.CA}).ClientTLS()
		if err != nil {
			return nil, err
		}
		dialer = &tls.Dialer{Config: config}
	}
	conn, err := dialer.DialContext(ctx, "tcp", u.Host)
	if err != nil {
		return nil, err
	}
	d := &paho5{queue: newQueue[Message]()}
	d.client = paho.NewClient(paho.ClientConfig{
		Conn:          packets.NewThreadSafeConn(conn),
		PacketTimeout: patience,
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(r paho.PublishReceived) (bool, error) {
			d.queue.put(fromPaho5(r.Packet))
			return true, nil
		}},
		OnClientError:      d.queue.fail,
		OnServerDisconnect: func(p *paho.Disconnect) { d.queue.fail(fmt.Errorf("server disconnects with %#x", p.ReasonCode)) },
	})
	connect := &paho.Connect{ClientID: o.Client, CleanStart: true, KeepAlive: 30}
	if o.Will != nil {
		connect.WillMessage = &paho.WillMessage{Topic: o.Will.Topic, Payload: o.Will.Payload, QoS: o.Will.QoS, Retain: o.Will.Retain}
	}
	connack, err := d.client.Connect(ctx, connect)
	if err != nil {
		return nil, err
	}
	if connack.ReasonCode != 0 {
		return nil, fmt.Errorf("connection refused with %#x", connack.ReasonCode)
	}
	return d, nil
}

type paho5 struct {
	client *paho.Client
	queue  *queue[Message]
}

func (d *paho5) Subscribe(ctx context.Context, s Subscription) error {
	subscribe := &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{
		Topic: s.Filter, QoS: s.QoS, NoLocal: s.NoLocal, RetainAsPublished: s.RetainAsPublished, RetainHandling: s.RetainHandling,
	}}}
	if s.ID != 0 {
		subscribe.Properties = &paho.SubscribeProperties{SubscriptionIdentifier: &s.ID}
	}
	suback, err := d.client.Subscribe(ctx, subscribe)
	if err != nil {
		return err
	}
	return checkGranted(s, fmt.Sprint(suback.Reasons[0]))
}

// Publish ends with its connection: by itself it may wait for an acknowledgement that cannot come any more.
func (d *paho5) Publish(ctx context.Context, m Message) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-d.queue.failed:
			cancel()
		case <-ctx.Done():
		}
	}()
	p := &paho.Publish{Topic: m.Topic, Payload: m.Payload, QoS: m.QoS, Retain: m.Retain, Properties: &paho.PublishProperties{
		ContentType: m.ContentType, ResponseTopic: m.ResponseTopic, CorrelationData: m.Correlation,
	}}
	if m.Format > 0 {
		p.Properties.PayloadFormat = ptr(byte(m.Format - 1))
	}
	if m.Expiry > 0 {
		p.Properties.MessageExpiry = ptr(uint32(m.Expiry))
	}
	if m.Alias > 0 {
		p.Properties.TopicAlias = ptr(uint16(m.Alias))
	}
	for _, u := range m.User {
		p.Properties.User.Add(u.Key, u.Value)
	}
	_, err := d.client.Publish(ctx, p)
	return err
}

func (d *paho5) Next(ctx context.Context) (Message, error) { return d.queue.get(ctx) }

func (d *paho5) Close() error {
	return d.client.Disconnect(&paho.Disconnect{ReasonCode: packets.DisconnectNormalDisconnection})
}

func fromPaho5(p *paho.Publish) Message {
	m := Message{Topic: p.Topic, Payload: p.Payload, QoS: p.QoS, Retain: p.Retain}
	if p.Properties == nil {
		return m
	}
	m.ContentType, m.ResponseTopic, m.Correlation = p.Properties.ContentType, p.Properties.ResponseTopic, p.Properties.CorrelationData
	if p.Properties.PayloadFormat != nil {
		m.Format = int(*p.Properties.PayloadFormat) + 1
	}
	if p.Properties.MessageExpiry != nil {
		m.Expiry = int(*p.Properties.MessageExpiry)
	}
	if p.Properties.SubscriptionIdentifier != nil {
		m.SubscriptionIDs = []int{*p.Properties.SubscriptionIdentifier}
	}
	for _, u := range p.Properties.User {
		m.User = append(m.User, Pair{u.Key, u.Value})
	}
	return m
}

func ptr[T any](v T) *T { return &v }
