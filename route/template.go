package route

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
	"unsafe"

	"github.com/linkspan/linkspan"
)

// A field is a fact of a message that a template can name.
type field byte

const (
	fieldTopic field = iota
	fieldClient
	fieldUsername
	fieldEndpoint
	fieldQoS
	fieldKey
	fieldKafkaTopic
	fieldPartition
	fieldOffset
	fieldHeader // of the name that the op has
)

// A fieldInfo is one line of the table of placeholders in docs/mapping.md.
type fieldInfo struct {
	name     string
	field    field
	up, down bool // in which direction it is known
	means    string
}

func fieldTable() []fieldInfo {
	return []fieldInfo{
		{"topic", fieldTopic, true, true, "the MQTT topic or AMQP address that the message was published to"},
		{"client", fieldClient, true, true, "the client identifier of the publisher"},
		{"username", fieldUsername, true, true, "the user name of the publisher"},
		{"endpoint", fieldEndpoint, true, true, "the endpoint where the message came in"},
		{"qos", fieldQoS, true, true, "the quality of service: 0, 1 or 2"},
		{"key", fieldKey, false, true, "the key of the Kafka record"},
		{"kafka.topic", fieldKafkaTopic, false, true, "the topic of the Kafka record"},
		{"partition", fieldPartition, false, true, "the partition of the Kafka record"},
		{"offset", fieldOffset, false, true, "the offset of the Kafka record"},
	}
}

func fieldByName(name string) (fieldInfo, bool) {
	for _, f := range fieldTable() {
		if f.name == name {
			return f, true
		}
	}
	return fieldInfo{}, false
}

// An op writes one part of a template.
type op struct {
	kind  opKind
	field field
	text  string // the literal, or the header's name
	index int    // of the capture
	n     uint32 // > 0: the logical partition of the value among n
}

type opKind byte

const (
	opLiteral opKind = iota
	opCapture
	opField
)

// A template is text with placeholders, compiled. The zero value writes nothing.
type template struct {
	ops []op
	// perTopic: the result is the same for all messages of one topic and endpoint.
	perTopic bool
}

// A scope is what placeholders may name.
type scope struct {
	captures []capture
	down     bool
}

func newTemplate(text string, sc scope) (*template, error) {
	parts, err := scan(text)
	if err != nil {
		return nil, err
	}
	t := &template{perTopic: true}
	for _, p := range parts {
		o := op{kind: opLiteral, text: p.text}
		if p.hole {
			if o, err = sc.op(p.text); err != nil {
				return nil, err
			}
		}
		t.ops = append(t.ops, o)
		t.perTopic = t.perTopic && o.perTopic(sc.down)
	}
	return t, nil
}

// perTopic: on the way up a topic is the MQTT topic, on the way down the Kafka topic.
func (o op) perTopic(down bool) bool {
	if o.kind != opField {
		return true
	}
	if down {
		return o.field == fieldKafkaTopic
	}
	return o.field == fieldTopic || o.field == fieldEndpoint
}

// op compiles what stands between the braces: a name, header.NAME, or partition VALUE N.
func (sc scope) op(text string) (op, error) {
	words := strings.Fields(text)
	if len(words) > 1 && words[0] == "partition" {
		if len(words) != 3 {
			return op{}, fmt.Errorf("{%s}: write {partition NAME N}, such as {partition client 3}", text)
		}
		o, err := sc.value(words[1])
		if err != nil {
			return op{}, err
		}
		n, err := strconv.ParseUint(words[2], 10, 31)
		if err != nil || n == 0 {
			return op{}, fmt.Errorf("{%s}: %s is no number of partitions: 1 or more", text, words[2])
		}
		o.n = uint32(n)
		return o, nil
	}
	return sc.value(text)
}

func (sc scope) value(name string) (op, error) {
	for i, c := range sc.captures {
		if c.name == name {
			return op{kind: opCapture, index: i}, nil
		}
	}
	if header, ok := strings.CutPrefix(name, "header."); ok {
		if !sc.down && reserved(header) && !strings.HasPrefix(header, amqpPrefix) {
			return op{}, fmt.Errorf("{%s}: on the way up only user properties and what AMQP says are headers yet; the facts have names of their own (%s)", name, strings.Join(sc.names(), ", "))
		}
		if header == "" {
			return op{}, errors.New("{header.}: the name of the header is missing")
		}
		return op{kind: opField, field: fieldHeader, text: header}, nil
	}
	f, ok := fieldByName(name)
	switch {
	case !ok && name == "":
		return op{}, errors.New("{} has no name in it: write {{}} for the characters themselves")
	case !ok:
		return op{}, fmt.Errorf("there is no {%s} here%s (known: %s, header.NAME)", name, meant(name, sc.names()), strings.Join(sc.names(), ", "))
	case sc.down && !f.down || !sc.down && !f.up:
		return op{}, fmt.Errorf("{%s} is %s: it is known on the way down only (from: kafka:...)", name, f.means)
	}
	return op{kind: opField, field: f.field}, nil
}

// names lists what a template may name, for error messages.
func (sc scope) names() []string {
	var names []string
	for _, c := range sc.captures {
		names = append(names, c.name)
	}
	for _, f := range fieldTable() {
		if sc.down && f.down || !sc.down && f.up {
			names = append(names, f.name)
		}
	}
	return names
}

// literal returns the text of a template without placeholders.
func (t *template) literal() (string, bool) {
	switch {
	case len(t.ops) == 0:
		return "", true
	case len(t.ops) == 1 && t.ops[0].kind == opLiteral:
		return t.ops[0].text, true
	}
	return "", false
}

// values is what a template is filled in with.
type values struct {
	m        *linkspan.Message
	captures []string
	topic    string // the MQTT topic that the message was published to
	down     bool
}

// append writes the template at the end of dst.
func (t *template) append(dst []byte, v *values) []byte {
	for i := range t.ops {
		dst = t.ops[i].append(dst, v)
	}
	return dst
}

// text returns what the template gives, in the scratch space of m.
func (t *template) text(m *linkspan.Message, v *values) string {
	from := len(m.Scratch)
	m.Scratch = t.append(m.Scratch, v)
	return borrow(m.Scratch[from:])
}

// appendName writes the template at the end of dst as a Kafka topic name. It returns false where that has no legal form.
func (t *template) appendName(dst []byte, v *values, rule naming) ([]byte, bool) {
	from := len(dst)
	var space [64]byte
	for i := range t.ops {
		o := &t.ops[i]
		if o.kind == opLiteral || o.n > 0 {
			dst = o.append(dst, v)
		} else {
			dst = rule.append(dst, borrow(o.append(space[:0], v)))
		}
	}
	return rule.finish(dst, from)
}

func (o *op) append(dst []byte, v *values) []byte {
	from := len(dst)
	switch {
	case o.kind == opLiteral:
		return append(dst, o.text...)
	case o.kind == opCapture:
		dst = append(dst, v.captures[o.index]...)
	default:
		dst = o.field.append(dst, v, o.text)
	}
	if o.n > 0 {
		p := logicalPartition(borrow(dst[from:]), o.n)
		dst = strconv.AppendUint(dst[:from], uint64(p), 10)
	}
	return dst
}

func (f field) append(dst []byte, v *values, header string) []byte {
	switch f {
	case fieldTopic:
		return append(dst, v.topic...)
	case fieldClient:
		return append(dst, v.m.Client...)
	case fieldUsername:
		return append(dst, v.m.Username...)
	case fieldEndpoint:
		return append(dst, v.m.Endpoint...)
	case fieldQoS:
		return strconv.AppendUint(dst, uint64(v.m.QoS), 10)
	case fieldKey:
		return append(dst, v.m.Record.Key...)
	case fieldKafkaTopic:
		return append(dst, v.m.Record.Topic...)
	case fieldPartition:
		return strconv.AppendInt(dst, int64(v.m.Record.Partition), 10)
	case fieldOffset:
		return strconv.AppendInt(dst, v.m.Record.Offset, 10)
	default:
		return append(dst, v.header(header)...)
	}
}

// header returns the record's header on the way down, and on the way up the user property or what AMQP says that will be one.
func (v *values) header(name string) string {
	if v.down {
		return borrow(v.m.Record.Header(name))
	}
	if strings.HasPrefix(name, amqpPrefix) {
		for _, h := range slices.Backward(v.m.AMQP) {
			if h.Key == name {
				return borrow(h.Value)
			}
		}
		return ""
	}
	for _, p := range slices.Backward(v.m.UserProperties) {
		if p.Key == name {
			return p.Value
		}
	}
	return ""
}

// borrow returns a string that shares the memory of b. Strings of a Message may be borrowed; what is kept is cloned.
func borrow(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// validText reports whether s is what MQTT calls a UTF-8 encoded string [MQTT 1.5.4].
func validText(s string) bool {
	return len(s) <= 65535 && strings.IndexByte(s, 0) < 0 && utf8.ValidString(s)
}

// validTopic reports whether s is an MQTT topic name [MQTT 4.7].
func validTopic(s string) bool {
	return s != "" && strings.IndexByte(s, '+') < 0 && strings.IndexByte(s, '#') < 0 && validText(s)
}
