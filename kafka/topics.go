package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A TopicSpec says how a topic must be, or how to create it.
type TopicSpec struct {
	Name string
	// Partitions and ReplicationFactor of a new topic. 0: as [TopicSettings] or else the brokers have it.
	Partitions        int32
	ReplicationFactor int16
	// Configs of a new topic, by Kafka's names, beside those of [TopicSettings].
	Configs map[string]string
	// Strict refuses a topic that exists with another number of partitions or other values of Configs.
	Strict bool
	// Hint is what else helps against that, for the error: "or set fleet.lanes: 16".
	Hint string
}

// EnsureTopics creates the topics that are missing, or reports them where [TopicSettings].Create is off, and waits until
// every partition has a leader: on Apache Kafka a new topic cannot be used at once. It returns all that is wrong, with
// [ErrUnknownTopic] and [ErrTopicSettings] among it.
func (c *Client) EnsureTopics(ctx context.Context, specs []TopicSpec) error {
	byName := map[string]TopicSpec{}
	for _, s := range specs {
		if !legalName(s.Name) {
			return fmt.Errorf("%w: %q", linkspan.ErrInvalidTopic, s.Name)
		}
		byName[s.Name] = s
	}
	names := slices.Sorted(maps.Keys(byName))
	if len(names) == 0 {
		return nil
	}
	var failed map[string]error
	for {
		found, err := c.inspect(ctx, names)
		if err != nil {
			return err
		}
		var missing []TopicSpec
		waiting := false
		for _, n := range names {
			switch t, answered := found[n]; {
			case t.err != nil:
				return t.err
			case !answered:
				waiting = true
			case !t.exists:
				missing = append(missing, byName[n])
			case !t.led:
				waiting = true
			}
		}
		if len(missing) == 0 && !waiting {
			return c.settle(ctx, byName, found)
		}
		if len(missing) > 0 {
			if failed, err = c.create(ctx, missing); err == nil {
				err = joinByName(failed)
			}
			if err != nil {
				return err
			}
		}
		if err := sleep(ctx, c.cfg.RetryInterval); err != nil {
			return fmt.Errorf("wait for the leaders of Kafka topics %s: %w", strings.Join(names, ", "), err)
		}
	}
}

// settle checks what was asked for strictly, and opens the topics to the producer.
func (c *Client) settle(ctx context.Context, specs map[string]TopicSpec, found map[string]found) error {
	configs, err := c.topicConfigs(ctx, slices.Sorted(maps.Keys(specs)))
	wrong := map[string]error{}
	for name, spec := range specs {
		if !spec.Strict {
			continue
		}
		if err != nil {
			return fmt.Errorf("look at the settings of Kafka topic %s: %w", name, err)
		}
		if err := spec.differs(found[name].partitions, configs[name]); err != nil {
			wrong[name] = err
		}
	}
	for name := range specs {
		if wrong[name] == nil {
			c.topics.open(c.topics.get(name), maxBytes(configs[name]))
		}
	}
	return joinByName(wrong)
}

// differs says how a topic is not as s wants it, and what to do.
func (s *TopicSpec) differs(partitions int32, configs map[string]string) error {
	var wrong, remedy, set []string
	if s.Partitions > 0 && partitions != s.Partitions {
		wrong = append(wrong, fmt.Sprintf("%d partitions, not %d", partitions, s.Partitions))
		remedy = append(remedy, "delete it while nothing uses it, with all that it holds, or configure another name")
	}
	for _, key := range slices.Sorted(maps.Keys(s.Configs)) {
		if is, must := configs[key], s.Configs[key]; !sameValue(is, must) {
			wrong = append(wrong, fmt.Sprintf("%s=%s, not %s", key, is, must))
			set = append(set, fmt.Sprintf("%s=[%s]", key, must))
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	if len(set) > 0 {
		remedy = append(remedy, fmt.Sprintf("kafka-configs.sh --alter --entity-type topics --entity-name %s --add-config '%s'", s.Name, strings.Join(set, ",")))
	}
	if s.Hint != "" {
		remedy = append(remedy, s.Hint)
	}
	return fmt.Errorf("%w: %s has %s; %s", ErrTopicSettings, s.Name, strings.Join(wrong, "; "), strings.Join(remedy, "; "))
}

// sameValue compares values of a setting. That of some is a list, whose order does not matter.
func sameValue(a, b string) bool {
	return a == b || slices.Equal(slices.Sorted(strings.SplitSeq(a, ",")), slices.Sorted(strings.SplitSeq(b, ",")))
}

// needs is s in words, for who creates the topic.
func (s *TopicSpec) needs() string {
	var list []string
	if s.Partitions > 0 {
		list = append(list, fmt.Sprintf("%d partitions", s.Partitions))
	}
	for _, key := range slices.Sorted(maps.Keys(s.Configs)) {
		list = append(list, key+"="+s.Configs[key])
	}
	if len(list) == 0 {
		return ""
	}
	return " with " + strings.Join(list, ", ")
}

// found is what the cluster knows of a topic.
type found struct {
	exists     bool
	led        bool // each partition has a leader
	partitions int32
	err        error // the cluster will not tell
}

// Topics returns the names of all topics that the cluster lets us see, but for its own.
func (c *Client) Topics(ctx context.Context) (names []string, err error) {
	topics, err := c.metadata(ctx, nil)
	for _, t := range topics {
		if t.Topic != nil && !t.IsInternal {
			names = append(names, *t.Topic)
		}
	}
	return names, err
}

// metadata asks for topics, for all when names is nil. Its error is one of the whole request: unlike kadm's, it leaves a topic that
// we may not see to that topic.
func (c *Client) metadata(ctx context.Context, names []string) ([]kmsg.MetadataResponseTopic, error) {
	req := kmsg.NewPtrMetadataRequest()
	for _, n := range names {
		req.Topics = append(req.Topics, kmsg.MetadataRequestTopic{Topic: &n})
	}
	resp, err := req.RequestWith(ctx, c.kgo)
	if err != nil {
		return nil, fmt.Errorf("look for Kafka topics: %w", explain(err))
	}
	return resp.Topics, nil
}

// inspect asks the cluster about topics. Its error is one of the whole request.
func (c *Client) inspect(ctx context.Context, names []string) (map[string]found, error) {
	topics, err := c.metadata(ctx, names)
	if err != nil {
		return nil, err
	}
	all := make(map[string]found, len(names))
	for _, t := range topics {
		if t.Topic == nil {
			continue
		}
		f := found{partitions: int32(len(t.Partitions))}
		switch err := kerr.ErrorForCode(t.ErrorCode); {
		case err == nil:
			f.exists, f.led = true, len(t.Partitions) > 0
			for _, p := range t.Partitions {
				f.led = f.led && p.ErrorCode == 0 && p.Leader >= 0
			}
		case isUnknownTopic(err):
		case errors.Is(err, kerr.LeaderNotAvailable):
			f.exists = true
		case !kerr.IsRetriable(err):
			f.err = classify(*t.Topic, err)
		default:
			continue // to be asked again
		}
		all[*t.Topic] = f
	}
	return all, nil
}

// create creates topics and returns what failed, by name; its error is one of the whole request.
func (c *Client) create(ctx context.Context, specs []TopicSpec) (failed map[string]error, err error) {
	failed = map[string]error{}
	if !c.cfg.Topics.Create {
		for _, s := range specs {
			failed[s.Name] = fmt.Errorf("%w: %s; create it%s, or set kafka.topics.create: true", ErrUnknownTopic, s.Name, s.needs())
		}
		return failed, nil
	}
	req := kmsg.NewPtrCreateTopicsRequest()
	req.TimeoutMillis = int32(c.cfg.RequestTimeout.Milliseconds())
	for _, s := range specs {
		t := kmsg.NewCreateTopicsRequestTopic()
		t.Topic, t.NumPartitions, t.ReplicationFactor = s.Name, -1, -1
		if n := orElse(s.Partitions, c.cfg.Topics.Partitions); n > 0 {
			t.NumPartitions = n
		}
		if n := orElse(s.ReplicationFactor, c.cfg.Topics.ReplicationFactor); n > 0 {
			t.ReplicationFactor = n
		}
		configs := maps.Clone(c.cfg.Topics.Configs)
		if configs == nil {
			configs = map[string]string{}
		}
		maps.Copy(configs, s.Configs)
		for _, key := range slices.Sorted(maps.Keys(configs)) {
			v := configs[key]
			t.Configs = append(t.Configs, kmsg.CreateTopicsRequestTopicConfig{Name: key, Value: &v})
		}
		req.Topics = append(req.Topics, t)
	}
	resp, err := req.RequestWith(ctx, c.kgo)
	if err != nil {
		return nil, fmt.Errorf("create Kafka topics: %w", explain(err))
	}
	for _, t := range resp.Topics {
		switch err := kerr.ErrorForCode(t.ErrorCode); {
		case err == nil:
			c.log.Info("kafka topic created", "topic", t.Topic, "partitions", t.NumPartitions)
		case errors.Is(err, kerr.TopicAlreadyExists), kerr.IsRetriable(err): // someone else was faster; or once more
		default:
			if t.ErrorMessage != nil && *t.ErrorMessage != "" {
				err = fmt.Errorf("%w (%s)", err, *t.ErrorMessage)
			}
			failed[t.Topic] = createError(t.Topic, err)
		}
	}
	return failed, nil
}

func createError(topic string, err error) error {
	switch {
	case errors.Is(err, kerr.TopicAuthorizationFailed), errors.Is(err, kerr.ClusterAuthorizationFailed):
		return fmt.Errorf("%w: create Kafka topic %s: %w; allow it, or create the topic", linkspan.ErrNotAuthorized, topic, err)
	case errors.Is(err, kerr.InvalidTopicException):
		return fmt.Errorf("%w: %s: %w", linkspan.ErrInvalidTopic, topic, err)
	case errors.Is(err, kerr.InvalidReplicationFactor):
		return linkspan.Permanent(fmt.Errorf("create Kafka topic %s: %w; set kafka.topics.replication_factor to no more than there are brokers", topic, err))
	}
	return linkspan.Permanent(fmt.Errorf("create Kafka topic %s: %w", topic, err))
}

// topicConfigs returns the settings of topics that exist and that we may look at; the error is of one that is not among them.
func (c *Client) topicConfigs(ctx context.Context, names []string) (configs map[string]map[string]string, err error) {
	req := kmsg.NewPtrDescribeConfigsRequest()
	for _, n := range names {
		r := kmsg.NewDescribeConfigsRequestResource()
		r.ResourceType, r.ResourceName = kmsg.ConfigResourceTypeTopic, n
		req.Resources = append(req.Resources, r)
	}
	resp, err := req.RequestWith(ctx, c.kgo)
	if err != nil {
		return nil, err
	}
	configs = map[string]map[string]string{}
	for _, r := range resp.Resources {
		if e := kerr.ErrorForCode(r.ErrorCode); e != nil {
			err = fmt.Errorf("%s: %w", r.ResourceName, e)
			continue
		}
		m := map[string]string{}
		for _, kv := range r.Configs {
			if kv.Value != nil {
				m[kv.Name] = *kv.Value
			}
		}
		configs[r.ResourceName] = m
	}
	return configs, err
}

// maxBytes is the largest batch that a topic takes, 0 when that is not known. The embedded broker lists its own setting beside the
// topic's default, Kafka instead of it.
func maxBytes(configs map[string]string) int32 {
	const kafkasDefault = "1048588"
	v := configs["max.message.bytes"]
	if own := configs["message.max.bytes"]; own != "" && v == kafkasDefault {
		v = own
	}
	n, err := strconv.ParseInt(v, 10, 32)
	if err != nil || n < 0 {
		return 0
	}
	return int32(n)
}

func joinByName(errs map[string]error) error {
	var list []error
	for _, n := range slices.Sorted(maps.Keys(errs)) {
		list = append(list, errs[n])
	}
	return errors.Join(list...)
}

func orElse[T int16 | int32](v, otherwise T) T {
	if v > 0 {
		return v
	}
	return otherwise
}

// sleep waits for d, or returns ctx's error if that ends first.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
