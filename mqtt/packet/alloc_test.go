package packet

import "testing"

// TestNoAllocation proves that the packets of a busy connection are read and written without memory.
func TestNoAllocation(t *testing.T) {
	subscribe := Subscribe{PacketID: 1, Filters: []Subscription{{Filter: "a/+"}, {Filter: "b/#"}}}
	var n int
	for name, f := range map[string]func(t *testing.T) func(){
		"PUBLISH 3.1.1":             func(t *testing.T) func() { return publishAndBack(t, V311, 0, &n) },
		"PUBLISH 5":                 func(t *testing.T) func() { return publishAndBack(t, V5, 0, &n) },
		"PUBLISH 5 with properties": func(t *testing.T) func() { return publishAndBack(t, V5, 8, &n) },
		"PUBACK":                    func(t *testing.T) func() { return thereAndBack(t, V5, &Ack{Type: PUBACK, PacketID: 1}) },
		"PUBREC with a reason": func(t *testing.T) func() {
			return thereAndBack(t, V5, &Ack{Type: PUBREC, PacketID: 1, Reason: QuotaExceeded})
		},
		"SUBSCRIBE": func(t *testing.T) func() { return thereAndBack(t, V5, &subscribe) },
		"PINGREQ":   func(t *testing.T) func() { return thereAndBack(t, V5, &ping{PINGREQ}) },
		"ValidTopicName": func(t *testing.T) func() {
			bytes := []byte("sensors/hall-1/temperature")
			return func() {
				if ValidTopicName("sensors/hall-1/wärme") != nil || ValidTopicName(bytes) != nil || ValidFilter("a/+/#") != nil {
					t.Fatal("not valid")
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got := testing.AllocsPerRun(100, f(t)); got != 0 {
				t.Errorf("%v allocations", got)
			}
		})
	}
}

// thereAndBack returns a function that writes p, cuts it off the buffer and reads it.
func thereAndBack(t *testing.T, v Version, p codec) func() {
	buffer := p.Append(make([]byte, 0, 1024), v)
	back := newPacket(Type(buffer[0] >> 4))
	return func() {
		buffer = p.Append(buffer[:0], v)
		raw, _, _, err := Cut(buffer, 0)
		if err == nil {
			err = back.Decode(v, raw)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func publishAndBack(t *testing.T, v Version, userProperties int, n *int) func() {
	p, _ := benchPublish(v, userProperties)
	if userProperties > 0 {
		p.Properties.AddSubscriptionID(5)
	}
	back := new(Publish)
	buffer := make([]byte, 0, 1024)
	return func() {
		buffer = p.Append(buffer[:0], v)
		raw, _, _, err := Cut(buffer, 0)
		if err == nil {
			err = back.Decode(v, raw)
		}
		if err != nil {
			t.Fatal(err)
		}
		for key, value := range back.Properties.UserProperties() {
			*n += len(key) + len(value)
		}
		for id := range back.Properties.SubscriptionIDs() {
			*n += int(id)
		}
	}
}
