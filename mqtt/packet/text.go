package packet

import (
	"bytes"
	"encoding/binary"
	"unicode/utf8"
	"unsafe"
)

// maxText is the length in bytes of the longest string or binary value.
const maxText = 65535

// ValidText checks that s is a string that MQTT can carry: well-formed UTF-8 [MQTT-1.5.4-1] without U+0000
// [MQTT-1.5.4-2], at most 65,535 bytes. Control and non-characters, which the specification only advises against, pass.
// The error is an [*Error].
func ValidText[T string | []byte](s T) error {
	if len(s) > maxText {
		return malformed("MQTT5 1.5.4", "string longer than 65,535 bytes")
	}
	return checkText(view(s))
}

// ValidTopicName checks that s can be the topic of a message: text of at least one character without wildcards.
// The error is an [*Error].
func ValidTopicName[T string | []byte](s T) error {
	if len(s) > maxText {
		return &Error{TopicNameInvalid, "MQTT-4.7.3-3", "topic name longer than 65,535 bytes"}
	}
	return checkTopicName(view(s))
}

// ValidFilter checks that s can be subscribed to: text of at least one character where each wildcard stands alone
// in its level, and # only in the last. A shared subscription ($share/NAME/FILTER) must have its parts. The error is an
// [*Error].
func ValidFilter[T string | []byte](s T) error {
	if len(s) > maxText {
		return &Error{TopicFilterInvalid, "MQTT-4.7.3-3", "topic filter longer than 65,535 bytes"}
	}
	return checkFilter(view(s), V5)
}

// view returns the bytes of s, not to be written to.
func view[T string | []byte](s T) []byte {
	switch s := any(s).(type) {
	case string:
		return unsafe.Slice(unsafe.StringData(s), len(s))
	case []byte:
		return s
	}
	panic("unreachable")
}

// borrow returns b as a string that changes if b does.
func borrow(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// Eight characters are looked at at once: taking 1 off each byte turns on the top bit of one that is 0, and
// exclusive-or with a character first turns that one into 0. Bytes above the first such may be turned on by its borrow, so
// this tells whether there is one but not where.
const (
	ones   = 0x0101010101010101
	tops   = 0x80 * ones
	pluses = '+' * ones
	hashes = '#' * ones
)

// checkText refuses what [ValidText] does, but for the length.
func checkText(s []byte) error {
	if plainText(s) {
		return nil
	}
	if !utf8.Valid(s) {
		return malformed("MQTT-1.5.4-1", "ill-formed UTF-8")
	}
	if bytes.IndexByte(s, 0) >= 0 {
		return malformed("MQTT-1.5.4-2", "U+0000 in a string")
	}
	return nil
}

// plainText reports whether s is valid for sure, being all ASCII.
func plainText(s []byte) bool {
	if len(s) < 8 {
		for _, c := range s {
			if c-1 >= 0x7F {
				return false
			}
		}
		return true
	}
	w := binary.LittleEndian.Uint64(s[len(s)-8:]) // some of it twice, rather than one by one
	bad := w | (w - ones)
	for ; len(s) >= 8; s = s[8:] {
		w = binary.LittleEndian.Uint64(s)
		bad |= w | (w - ones)
	}
	return bad&tops == 0
}

// checkTopicName refuses what [ValidTopicName] does, but for the length.
func checkTopicName(s []byte) error {
	if plainTopicName(s) {
		return nil
	}
	if len(s) == 0 {
		return &Error{TopicNameInvalid, "MQTT-4.7.3-1", "empty topic name"}
	}
	if bytes.IndexByte(s, '+') >= 0 || bytes.IndexByte(s, '#') >= 0 {
		return &Error{TopicNameInvalid, "MQTT-3.3.2-2", "wildcard in a topic name"}
	}
	return checkText(s)
}

// plainTopicName reports whether s is a topic name for sure, being all ASCII.
func plainTopicName(s []byte) bool {
	if len(s) < 8 {
		for _, c := range s {
			if c-1 >= 0x7F || c == '+' || c == '#' {
				return false
			}
		}
		return len(s) > 0
	}
	w := binary.LittleEndian.Uint64(s[len(s)-8:])
	bad := w | (w - ones) | ((w ^ pluses) - ones) | ((w ^ hashes) - ones)
	for ; len(s) >= 8; s = s[8:] {
		w = binary.LittleEndian.Uint64(s)
		bad |= w | (w - ones) | ((w ^ pluses) - ones) | ((w ^ hashes) - ones)
	}
	return bad&tops == 0
}

// checkFilter refuses what [ValidFilter] does, but for the length. Only MQTT 5 has shared subscriptions.
func checkFilter(s []byte, v Version) error {
	if len(s) == 0 {
		return &Error{TopicFilterInvalid, "MQTT-4.7.3-1", "empty topic filter"}
	}
	if err := checkText(s); err != nil {
		return err
	}
	if shared(s) && v == V5 {
		name, filter, found := bytes.Cut(s[len(sharePrefix):], []byte{'/'})
		switch {
		case len(name) == 0:
			return &Error{TopicFilterInvalid, "MQTT-4.8.2-1", "shared subscription without a share name"}
		case !found || len(filter) == 0:
			return &Error{TopicFilterInvalid, "MQTT-4.8.2-2", "shared subscription without a topic filter"}
		case bytes.ContainsAny(name, "+#"):
			return &Error{TopicFilterInvalid, "MQTT-4.8.2-2", "wildcard in a share name"}
		}
		s = filter
	}
	for i, c := range s {
		switch {
		case c == '#' && i+1 < len(s), c == '#' && i > 0 && s[i-1] != '/':
			return &Error{TopicFilterInvalid, "MQTT-4.7.1-1", "# is not alone in the last level"}
		case c == '+' && i > 0 && s[i-1] != '/', c == '+' && i+1 < len(s) && s[i+1] != '/':
			return &Error{TopicFilterInvalid, "MQTT-4.7.1-2", "+ is not alone in its level"}
		}
	}
	return nil
}

const sharePrefix = "$share/"

// shared reports whether filter is one of a shared subscription.
func shared[T string | []byte](filter T) bool {
	return len(filter) >= len(sharePrefix) && string(filter[:len(sharePrefix)]) == sharePrefix
}

// cutData takes a binary value off b.
func cutData(b []byte) (data, rest []byte, err error) {
	if len(b) < 2 {
		return nil, nil, errShort
	}
	end := 2 + int(binary.BigEndian.Uint16(b))
	if len(b) < end {
		return nil, nil, errShort
	}
	return b[2:end:end], b[end:], nil
}

// cutText takes a string off b.
func cutText(b []byte) (text string, rest []byte, err error) {
	data, rest, err := cutData(b)
	if err == nil {
		err = checkText(data)
	}
	return borrow(data), rest, err
}

// cutPacketID takes a packet identifier off b.
func cutPacketID(b []byte) (id uint16, rest []byte, err error) {
	if len(b) < 2 {
		return 0, nil, errShort
	}
	if id = binary.BigEndian.Uint16(b); id == 0 {
		return 0, nil, errPacketID
	}
	return id, b[2:], nil
}

// fieldSize is how many bytes a string or binary value of n bytes takes. For one that is too long it is so much that the
// packet is, too.
func fieldSize(n int) int64 {
	if n > maxText {
		return MaxSize
	}
	return 2 + int64(n)
}

func appendField[T string | []byte](dst []byte, s T) []byte {
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(s))), s...)
}
