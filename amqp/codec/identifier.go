package codec

import (
	"encoding/hex"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/linkspan/linkspan/amqp/frame"
)

// What identifiers of the types other than string begin with as text [AMQP 3.2.11-14].
const (
	prefixUlong  = "ulong:"
	prefixUUID   = "uuid:"
	prefixBinary = "binary:"
	prefixString = "string:" // of a string that begins like one of these
)

func prefixed(text string) bool {
	for _, prefix := range [...]string{prefixUlong, prefixUUID, prefixBinary, prefixString} {
		if strings.HasPrefix(text, prefix) {
			return true
		}
	}
	return false
}

// appendIdentifier writes a message-id or correlation-id as text.
func appendIdentifier(b []byte, id frame.Value) []byte {
	if text, ok := id.Text(); ok {
		if prefixed(text) {
			b = append(b, prefixString...)
		}
		return append(b, text...)
	}
	if n, ok := id.Uint(); ok {
		return strconv.AppendUint(append(b, prefixUlong...), n, 10)
	}
	if uuid, ok := id.UUID(); ok {
		return appendUUID(append(b, prefixUUID...), uuid)
	}
	data, _ := id.Binary()
	return hex.AppendEncode(append(b, prefixBinary...), data)
}

// parseIdentifier adds the identifier that [appendIdentifier] wrote to b. What looks like none of its types is a string, or binary if it
// is no UTF-8.
func parseIdentifier(b []byte, text string) []byte {
	from := len(b)
	prefix, rest, _ := strings.Cut(text, ":")
	var ok bool
	switch prefix + ":" {
	case prefixUlong:
		b, ok = appendScalar(b, frame.Ulong, rest)
	case prefixUUID:
		b, ok = appendScalar(b, frame.UUID, rest)
	case prefixBinary:
		data, err := hex.DecodeString(rest)
		b, ok = frame.AppendBinary(b, data), err == nil
	case prefixString:
		b, ok = appendScalar(b, frame.String, rest)
	}
	switch {
	case ok:
		return b
	case !utf8.ValidString(text):
		return frame.AppendBinary(b[:from], text)
	}
	return frame.AppendString(b[:from], text)
}
