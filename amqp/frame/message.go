package frame

// Message is a whole message: bare message and annotations [AMQP 3.2].
//
// A message without a body passes, though the specification wants one: several clients send such.
type Message struct {
	Header                Header
	DeliveryAnnotations   Map // nil: absent, as for all maps
	MessageAnnotations    Map
	Properties            Properties
	ApplicationProperties Map
	Body                  []Section // data and sequences: one or several; a value: one
	Footer                Map
}

// Section is a section of a message's body.
type Section struct {
	Kind  Descriptor // CodeData, CodeSequence or CodeValue
	Value Value      // a binary, a list, or anything
}

// Data returns the content of a data section, nil of another.
func (s Section) Data() []byte {
	if s.Kind != CodeData {
		return nil
	}
	data, _ := s.Value.Binary()
	return data
}

// Decode reads a message of format 0, which payload is the whole of. It allocates only for a body of more sections than m
// had before.
func (m *Message) Decode(payload []byte) error {
	m.reset()
	last := Descriptor(0)
	for b := payload; len(b) > 0; {
		kind, rest, err := cutDescriptor(b)
		if err != nil {
			return err
		}
		if !follows(kind, last) {
			return errSection
		}
		last = kind
		switch kind {
		case CodeHeader:
			b, err = m.Header.decode(b)
		case CodeProperties:
			b, err = m.Properties.decode(b)
		case CodeDeliveryAnnotations:
			m.DeliveryAnnotations, b, err = cutAnnotations(rest)
		case CodeMessageAnnotations:
			m.MessageAnnotations, b, err = cutAnnotations(rest)
		case CodeFooter:
			m.Footer, b, err = cutAnnotations(rest)
		case CodeApplicationProperties:
			m.ApplicationProperties, b, err = cutProperties(rest)
		default:
			var v Value
			v, b, err = cutBody(kind, rest)
			m.Body = append(m.Body, Section{kind, v})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// reset empties m, but for the memory of the body. Properties take most of a message's memory, and often there are none.
func (m *Message) reset() {
	if m.Header.Present {
		m.Header = Header{}
	}
	if m.Properties.Present {
		m.Properties = Properties{}
	}
	m.DeliveryAnnotations, m.MessageAnnotations, m.ApplicationProperties, m.Footer = nil, nil, nil, nil
	m.Body = m.Body[:0]
}

// follows reports whether a section of that kind may come behind last: sections have an order, and but for data and
// sequences come once. The body is of one kind.
func follows(kind, last Descriptor) bool {
	switch {
	case kind < CodeHeader, kind > CodeFooter:
		return false
	case kind == last:
		return kind == CodeData || kind == CodeSequence
	case kind >= CodeData && kind <= CodeValue:
		return last < CodeData
	}
	return kind > last
}

// cutAnnotations takes a map of annotations off b: its keys are symbols, or numbers that are reserved [AMQP 3.2.10].
func cutAnnotations(b []byte) (Map, []byte, error) {
	m, rest, err := cutMap(b)
	if err != nil {
		return nil, nil, err
	}
	for k := range m.All() {
		if t := k.Type(); t != SymbolType && t != Ulong {
			return nil, nil, errAnnotation
		}
	}
	return m, rest, nil
}

// cutProperties takes application properties off b: their keys are strings, their values of simple types [AMQP 3.2.5].
func cutProperties(b []byte) (Map, []byte, error) {
	m, rest, err := cutMap(b)
	if err != nil {
		return nil, nil, err
	}
	for k, v := range m.All() {
		if k.Type() != String {
			return nil, nil, errPropertyKey
		}
		if v.Type() >= List {
			return nil, nil, errPropertyValue
		}
	}
	return m, rest, nil
}

func cutMap(b []byte) (Map, []byte, error) {
	v, rest, err := CutValue(b)
	if err != nil {
		return nil, nil, err
	}
	if v.Type() != MapType {
		return nil, nil, errMap
	}
	return Map(v.Raw()), rest, nil
}

// cutBody takes the value of a body's section off b.
func cutBody(kind Descriptor, b []byte) (Value, []byte, error) {
	if kind == CodeData && len(b) > 1 && b[0] == codeBinary8 && int(b[1]) <= len(b)-2 { // as most bodies are
		n := 2 + int(b[1])
		return Value{b[:1:n], b[1:n:n]}, b[n:], nil
	}
	v, rest, err := CutValue(b)
	switch {
	case err != nil:
		return Value{}, nil, err
	case kind == CodeData && v.Type() != Binary, kind == CodeSequence && v.Type() != List:
		return Value{}, nil, errBody
	}
	return v, rest, nil
}

// Append adds m to the end of b.
func (m *Message) Append(b []byte) []byte {
	b = m.Header.Append(b)
	b = appendSection(b, CodeDeliveryAnnotations, m.DeliveryAnnotations)
	b = appendSection(b, CodeMessageAnnotations, m.MessageAnnotations)
	b = m.Properties.Append(b)
	b = appendSection(b, CodeApplicationProperties, m.ApplicationProperties)
	for _, s := range m.Body {
		b = s.Value.Append(AppendDescriptor(b, s.Kind))
	}
	return appendSection(b, CodeFooter, m.Footer)
}

// AppendData adds a data section to b.
func AppendData[T ~string | ~[]byte](b []byte, data T) []byte {
	return AppendBinary(AppendDescriptor(b, CodeData), data)
}

func appendSection(b []byte, kind Descriptor, m Map) []byte {
	if m == nil {
		return b
	}
	return append(AppendDescriptor(b, kind), m...)
}
