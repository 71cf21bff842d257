package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/linkspan/linkspan/bridge"
)

type checkCommand struct {
	configFlag
	Connect bool          `help:"Reach Kafka and the brokers that endpoints dial too, tell what they can do, and list the topics that are missing. Nothing is created or changed."`
	Timeout time.Duration `default:"10s" help:"How long to try to reach Kafka, and then the brokers."`
}

func (checkCommand) Help() string {
	return `Every mistake is told with its file, line, key and remedy, and the exit code is 2. A broker that cannot be reached makes it 1.

    linkspan check -c linkspan.yaml
    linkspan check -c linkspan.yaml --connect --timeout 30s
`
}

func (c checkCommand) Run(p *program) error {
	cfg, notes, err := c.load(p)
	if err != nil {
		return err
	}
	findings, err := bridge.Check(cfg)
	if err != nil {
		return wrong{err}
	}
	for _, f := range append(notes, findings...) {
		fmt.Fprintln(p.stdout, "note: "+f)
	}
	fmt.Fprintln(p.stdout, "the configuration is valid")
	for _, line := range bridge.Custody(cfg) {
		fmt.Fprintln(p.stdout, line)
	}
	if !c.Connect {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.Timeout)
	defer cancel()
	report, err := bridge.CheckKafka(ctx, cfg, bridge.NewLogger(bridge.LogConfig{Level: "error", Format: "text"}, p.stderr))
	ctx, cancel = context.WithTimeout(context.Background(), c.Timeout) // a Kafka that is away takes no time from the brokers
	defer cancel()
	brokers, brokersErr := bridge.CheckClients(ctx, cfg)
	for _, line := range append(report, brokers...) {
		fmt.Fprintln(p.stdout, line)
	}
	return errors.Join(err, brokersErr)
}

type explainCommand struct {
	configFlag
	Topic    string   `arg:"" help:"An MQTT topic, amqp:ADDRESS, or kafka:TOPIC for the other direction."`
	Endpoint string   `placeholder:"NAME" help:"The endpoint that the message comes in by. Default: the first by name that speaks MQTT; with amqp:ADDRESS the first that speaks AMQP."`
	Client   string   `default:"a-client" placeholder:"ID" help:"The client identifier of the device. What a broker gives us has none."`
	User     string   `placeholder:"NAME" help:"The user name of the device."`
	QoS      byte     `name:"qos" default:"1" placeholder:"0|1|2" help:"The QoS of the message."`
	Retain   bool     `help:"The message is to be retained."`
	Payload  string   `default:"..." placeholder:"TEXT" help:"The payload, or the value of the record."`
	Key      *string  `placeholder:"TEXT" help:"The key of the record, for kafka:TOPIC; the one that the sender asks for, for amqp:ADDRESS."`
	Header   []string `sep:"none" placeholder:"K=V" help:"A header of the record, for kafka:TOPIC; a user property of the message otherwise. Can be given several times."`
}

func (explainCommand) Help() string {
	return `The routes are tried in order, and the first that matches takes the message.

    linkspan explain sensors/hall-1/t7/temp
    linkspan explain -c linkspan.yaml sensors/hall-1/t7/temp --client t7 --qos 2
    linkspan explain -c linkspan.yaml kafka:mqtt.commands --key hall-1/t7
    linkspan explain -c linkspan.yaml amqp:orders
    linkspan explain -c linkspan.yaml amqp:orders/group.id/billing
`
}

func (c explainCommand) Run(p *program) error {
	cfg, _, err := c.load(p)
	if err != nil {
		return err
	}
	q := bridge.Question{
		Endpoint: c.Endpoint, Client: c.Client, User: c.User, QoS: c.QoS, Retain: c.Retain, Payload: c.Payload, Key: c.Key,
	}
	for _, h := range c.Header {
		name, value, ok := strings.Cut(h, "=")
		if !ok {
			return wrong{fmt.Errorf("--header %s: write NAME=VALUE", h)}
		}
		q.Headers = append(q.Headers, [2]string{name, value})
	}
	q.Topic, q.Down = strings.CutPrefix(c.Topic, "kafka:")
	if !q.Down {
		q.Topic, q.AMQP = strings.CutPrefix(c.Topic, "amqp:")
	}
	answer, err := bridge.Explain(cfg, q)
	if err != nil {
		return wrong{err}
	}
	_, err = fmt.Fprint(p.stdout, answer)
	return err
}
